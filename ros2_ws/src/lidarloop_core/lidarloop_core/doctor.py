"""`lidarloop doctor`: the state of what a model needs on this machine, with a remedy for each fault."""

from __future__ import annotations

import ctypes
import importlib
import json as json_module
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from lidarloop_core import __version__
from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.fast_dds import profile_variables, read_profile
from lidarloop_core.gpu.cuda import Cuda, import_runtime
from lidarloop_core.inference.tensorrt.backend import engine_key, import_tensorrt
from lidarloop_core.inference.tensorrt.cache import EngineCache, EngineKey
from lidarloop_core.io import atomic
from lidarloop_core.io.outputs import check_output
from lidarloop_core.machine import is_installed, ros_distro
from lidarloop_core.model.model_file import read_model

State = Literal["ok", "absent", "warning", "fault"]

_MIB = 1 << 20
_SHM_NEEDED_BYTES = 64 * _MIB
_DISK_NEEDED_BYTES = 2 << 30
_EARLIEST_YEAR = 2025


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        what: name of what was examined.
        state: its state; ``absent`` is no fault: the machine works without it.
        found: description of what is there.
        remedy: what to do; empty if there is nothing to do.
    """

    what: str
    state: State
    found: str
    remedy: str = ""


def doctor(model: tyro.conf.Positional[Path | None] = None, *, json: Path | None = None) -> int:
    """Examines what a model needs on this machine: runtimes, GPU, engines, DDS, disk and clock.

    Exits with 1 if there is a fault.

    Args:
        model: a model file, to check whether its engine is built for this GPU.
        json: file to which the findings are written, too.
    """
    check_output(json, model)
    findings = list(examine(model))
    _print(findings)
    if json is not None:
        document = {"version": __version__, "findings": [asdict(finding) for finding in findings]}
        atomic.write_bytes(json, (json_module.dumps(document, indent=1) + "\n").encode())
    faults = [finding.what for finding in findings if finding.state == "fault"]
    if faults:
        print(
            f"lidarloop doctor: found faults of {', '.join(faults)}; expected none: follow the remedies after →",
            file=sys.stderr,
        )
    return int(bool(faults))


def examine(model: Path | None = None, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """All findings, from the program itself to the operating system."""
    yield Finding("lidarloop", "ok", f"{__version__} on Python {sys.version.split()[0]}")
    yield onnxruntime_finding()
    gpu = _gpu()
    yield from cuda_findings(gpu)
    yield tensorrt_finding(gpu is not None)
    yield Finding("model", "absent", "none was named") if model is None else model_finding(model)
    cache = EngineCache()
    yield engines_finding(cache, gpu, model)
    yield from ros_findings(environment)
    yield shared_memory_finding(shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0)
    yield disk_finding(_nearest(cache.folder))
    yield clock_finding(time.time(), _is_clock_synchronised())
    yield governor_finding(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))


def onnxruntime_finding() -> Finding:
    try:
        ort: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        return Finding("onnxruntime", "fault", f"cannot be imported: {error}", "pip install onnxruntime")
    builds = [name for name in ("onnxruntime", "onnxruntime-gpu") if is_installed(name)]
    found = f"{ort.__version__}, {', '.join(ort.get_available_providers())}"
    if len(builds) > 1:
        remedy = f"pip uninstall {' '.join(builds)}, then install one of them"
        return Finding("onnxruntime", "fault", f"{found}; both builds are installed over each other", remedy)
    return Finding("onnxruntime", "ok", found)


def cuda_findings(gpu: Cuda | Exception | None) -> Iterator[Finding]:
    if gpu is None:
        yield Finding("NVIDIA GPU", "absent", "no device; models run in onnxruntime on the CPU")
        return
    if isinstance(gpu, Exception):
        remedy = "install a driver for this CUDA, or cuda-python of the driver's CUDA: nvidia-smi names it"
        yield Finding("CUDA", "fault", str(gpu), remedy)
        return
    free, total = gpu.free_and_total_bytes()
    yield Finding("NVIDIA GPU", "ok", f"{gpu.gpu}, {free // _MIB} of {total // _MIB} MiB free")
    yield driver_finding(*(gpu.runtime.cudaDriverGetVersion()[1], gpu.runtime.cudaRuntimeGetVersion()[1]))


def driver_finding(driver: int, runtime: int) -> Finding:
    """Versions as CUDA writes them: 1000 × major + 10 × minor."""
    found = f"driver for CUDA {_cuda_version(driver)}, runtime {_cuda_version(runtime)}"
    if driver // 1000 < runtime // 1000:
        return Finding("CUDA", "fault", found, f"update the driver, or install cuda-python {driver // 1000}.*")
    return Finding("CUDA", "ok", found)


def tensorrt_finding(has_gpu: bool) -> Finding:
    try:
        return Finding("TensorRT", "ok", str(import_tensorrt().__version__))
    except BackendError as error:
        if has_gpu:
            return Finding(
                "TensorRT", "warning", str(error), "JetPack 6.1 or later has it; on x86: pip install tensorrt"
            )
        return Finding("TensorRT", "absent", "not installed")


def model_finding(model: Path) -> Finding:
    try:
        file = read_model(model)
    except ModelFileError as error:
        return Finding("model", "fault", str(error), "export it again, or copy it again")
    return Finding("model", "ok", f"{file.spec.name}, {file.precision}, sha256 {file.sha256[:12]}…, its seal holds")


def engines_finding(cache: EngineCache, gpu: Cuda | Exception | None, model: Path | None) -> Finding:
    """Engines on disk, and whether one is the model's."""
    stored = list(cache.stored())
    mangled = [path.name for path, key in stored if key is None]
    parts = [f"{len(stored)} in {cache.folder}"]
    if mangled:
        parts.append(f"mangled: {', '.join(mangled)}")
    wanted = _wanted_key(gpu, model)
    if wanted is not None:
        foreign = [k for _, k in stored if k is not None and (k.gpu, k.runtime) != (wanted.gpu, wanted.runtime)]
        if foreign:
            parts.append(f"{len(foreign)} of another GPU or TensorRT: they are not used")
        if all(key != wanted for _, key in stored):
            parts.append("the model's is not built")
            remedy = f"lidarloop build-engine {model}; else the node builds it at its first start"
            return Finding("engines", "warning", "; ".join(parts), remedy)
    if mangled:
        return Finding("engines", "warning", "; ".join(parts), "delete them; they are built anew when needed")
    return Finding("engines", "ok" if stored else "absent", "; ".join(parts))


def ros_findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The middleware, and Fast DDS's profile: without it large clouds are lost in shared memory."""
    distro = ros_distro(environment)
    if distro is None:
        yield Finding("ROS 2", "absent", "not sourced and not installed from pip")
        return
    middleware = environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    yield Finding("ROS 2", "ok", f"{distro}{'' if environment.get('ROS_DISTRO') else ' from pip'}, {middleware}")
    if "fastrtps" not in middleware:
        return
    name = profile_variables(distro)[0]
    remedy = (
        f"export {name}=$(ros2 pkg prefix lidarloop_bringup)/share/lidarloop_bringup/config/fastdds.xml where the "
        "LiDAR driver starts; lidarloop's own launch files set it for its nodes"
    )
    path = environment.get(name)
    if not path:
        yield Finding("Fast DDS profile", "warning", f"{name} is not set; clouds above 0.5 MB may be lost", remedy)
    elif not Path(path).is_file():
        yield Finding("Fast DDS profile", "fault", f"{name} names {path}, which is not there", remedy)
    else:
        yield profile_finding(path, read_profile(Path(path)), remedy)


def profile_finding(path: str, text: str, remedy: str) -> Finding:
    sizes = [int(size) for size in re.findall(r"<segment_size>\s*(\d+)\s*</segment_size>", text)]
    if not sizes:
        return Finding("Fast DDS profile", "warning", f"{path} sets no segment_size", remedy)
    if max(sizes) < _SHM_NEEDED_BYTES:
        found = f"{path}: shared memory of {max(sizes) / _MIB:.1f} MiB"
        return Finding("Fast DDS profile", "warning", found, f"make segment_size {_SHM_NEEDED_BYTES}")
    return Finding("Fast DDS profile", "ok", f"{path}: shared memory of {max(sizes) // _MIB} MiB")


def shared_memory_finding(free_bytes: int) -> Finding:
    found = f"{free_bytes // _MIB} MiB free in /dev/shm"
    if free_bytes < 4 * _SHM_NEEDED_BYTES:
        remedy = "each DDS participant takes 64 MiB: in a container give --shm-size=1g or --ipc=host"
        return Finding("shared memory", "warning", found, remedy)
    return Finding("shared memory", "ok", found)


def disk_finding(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / (1 << 30):.1f} GiB free at {folder}"
    if not os.access(folder, os.W_OK):
        remedy = "set LIDARLOOP_ENGINE_CACHE to a folder that may"
        return Finding("disk", "fault", f"{folder} may not be written to", remedy)
    if free < _DISK_NEEDED_BYTES:
        return Finding("disk", "warning", found, "make room: bags and engines need it, and are not written in part")
    return Finding("disk", "ok", found)


def clock_finding(now_s: float, is_synchronised: bool | None) -> Finding:
    """Ages and latencies are differences of stamps of several machines."""
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if time.gmtime(now_s).tm_year < _EARLIEST_YEAR:
        return Finding("clock", "fault", f"{found} lies in the past", "set it: no battery, or no time source at boot?")
    if is_synchronised is False:
        remedy = "synchronise it (chrony, or ptp4l with the LiDAR), else sweeps and ages are off"
        return Finding("clock", "warning", f"{found}, not synchronised", remedy)
    return Finding("clock", "ok", found + ("" if is_synchronised is None else ", synchronised"))


def governor_finding(path: Path) -> Finding:
    try:
        governor = path.read_text().strip()
    except OSError:
        return Finding("processor", "absent", "its clock cannot be read here")
    if governor == "powersave":
        remedy = "sudo cpupower frequency-set -g performance; on a Jetson: sudo nvpmodel -m 0 && sudo jetson_clocks"
        return Finding("processor", "warning", "governor powersave: latencies will vary", remedy)
    return Finding("processor", "ok", f"governor {governor}")


def _gpu() -> Cuda | Exception | None:
    """The GPU; the error if there is one that cannot be used; None if there is none."""
    nodes = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg")
    try:
        return Cuda(import_runtime())
    except BackendError as error:
        return error if any(Path(node).exists() for node in nodes) else None


def _wanted_key(gpu: Cuda | Exception | None, model: Path | None) -> EngineKey | None:
    if not isinstance(gpu, Cuda) or model is None:
        return None
    try:
        return engine_key(import_tensorrt(), read_model(model), gpu.gpu)
    except (BackendError, ModelFileError):  # each has a finding of its own
        return None


def _is_clock_synchronised() -> bool | None:
    """Whether the kernel synchronises the clock; None if unknown."""
    try:
        adjtimex: Callable[[Any], int] = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    state = adjtimex(ctypes.create_string_buffer(512))  # modes 0: only asks; struct timex is smaller
    return None if state < 0 else state != 5  # TIME_ERROR: not synchronised


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    colours = {"ok": "green", "absent": "dim", "warning": "yellow", "fault": "red"}
    for finding in findings:
        console.print(
            f"[{colours[finding.state]}]{finding.state:>8}[/]  {finding.what}: {escape(finding.found)}", soft_wrap=True
        )
        if finding.remedy:
            console.print(f"          → {finding.remedy}", soft_wrap=True, markup=False)
