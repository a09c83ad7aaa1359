"""What our code calls, held against the signatures of NVIDIA's own packages: a stand-in may not be kinder than they."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.inference.tensorrt.backend import TensorRtBackend
from lidarloop_core.inference.tensorrt.cache import EngineCache
from tests.core.inference.tensorrt import nvidia_signatures
from tests.core.inference.tensorrt.fake_tensorrt import FakeRuntime, make_trt

pytest.importorskip("onnxruntime")

Call = tuple[str, str, int | None]


@pytest.fixture(scope="module")
def used(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[set[Call], set[tuple[str, int]]]:
    """Calls of the whole backend: a build with progress, plain, captured and timed runs."""
    runtime = FakeRuntime()
    trt = make_trt(runtime)
    trt.calls.clear()
    backend = TensorRtBackend(
        repository / "models/pillar-toytown.onnx",
        cache=EngineCache(tmp_path_factory.mktemp("engines")),
        trt=trt,
        runtime=runtime,
        on_progress=lambda phase, share: None,
    )
    index = np.zeros(1, np.int64)
    inputs = {"points": np.zeros((1, 5), np.float32), "slot": index, "cell": index, "count": index + 1}
    for _ in range(2):
        backend.infer(inputs)
    backend.infer_timed(inputs)
    backend.cuda.free_and_total_bytes()
    log = set(runtime.log)
    return set(trt.calls), log


def signatures(name: str, folder: Path) -> dict[str, dict[str, str]]:
    script = Path(nvidia_signatures.__file__)
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    command = [sys.executable, str(script), name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt_rtx"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    folder = tmp_path_factory.mktemp("libraries")
    if request.param == "tensorrt_rtx":
        if find_spec("tensorrt_rtx") is None:
            pytest.skip("tensorrt-rtx is not installed: pip install lidarloop[rtx]")
        return signatures("tensorrt_rtx", folder)
    if nvidia_signatures.bindings() is None:
        pytest.skip("TensorRT's bindings are not installed: pip install --no-deps tensorrt-cu13-bindings")
    major = int(version("tensorrt-cu13-bindings").split(".")[0])
    assert major >= 11
    if not nvidia_signatures.make_libraries(folder, major):
        pytest.skip("no C compiler for the empty libraries that the bindings are loaded with")
    return signatures("tensorrt", folder)


def overloads(doc: str, name: str) -> list[tuple[int, int]]:
    """(fewest, most) arguments of each signature in a docstring of pybind11, without self."""
    found = []
    for line in doc.splitlines():
        match = re.match(rf"(?:\d+\. )?{name}\((.*)\) -> ", line.strip())
        if match and "*args" not in line:
            inside = re.sub(r"\[[^\]]*\]|<[^>]*>", "", match[1])
            arguments = [part for part in inside.split(", ") if part and not part.startswith("self")]
            found.append((sum("=" not in part for part in arguments), len(arguments)))
    return found


def test_every_call_of_tensorrt_fits_its_real_signature(
    used: tuple[set[Call], set[tuple[str, int]]], api: dict[str, dict[str, str]]
) -> None:
    calls, _ = used
    assert len(calls) > 20
    wrong = []
    for kind, member, number in sorted(calls, key=str):
        doc = api.get(kind, {}).get(member)
        if doc is None:
            wrong.append(f"{kind}.{member} does not exist")
        elif number is not None:
            choices = overloads(doc, member)
            if not any(low <= number <= high for low, high in choices):
                wrong.append(f"{kind}.{member} takes {choices} arguments, not {number}")
    assert wrong == []


def test_names_that_are_looked_up_exist(api: dict[str, dict[str, str]]) -> None:
    for kind, member in (
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("MemoryPoolType", "WORKSPACE"),
        ("ExecutionContextAllocationStrategy", "USER_MANAGED"),
        ("Logger", "ERROR"),
    ):
        assert member in api[kind]


def test_the_progress_interface_is_the_real_one(api: dict[str, dict[str, str]]) -> None:
    for name, number in (("phase_start", 3), ("step_complete", 2), ("phase_finish", 1)):
        assert (number, number) in overloads(api["IProgressMonitor"][name], name)


def test_every_call_of_cuda_fits_its_real_signature(used: tuple[set[Call], set[tuple[str, int]]]) -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    _, log = used
    assert len(log) > 12
    for name, number in sorted(log):
        signature = inspect.getdoc(getattr(runtime, name)) or ""
        inside = re.match(rf"{name}\((.*?)\)", signature)
        assert inside, name
        assert len([part for part in inside[1].split(",") if part.strip()]) == number, signature.splitlines()[0]
    for kind, member in (
        ("cudaMemcpyKind", "cudaMemcpyHostToDevice"),
        ("cudaMemcpyKind", "cudaMemcpyDeviceToHost"),
        ("cudaStreamCaptureMode", "cudaStreamCaptureModeThreadLocal"),
        ("cudaError_t", "cudaErrorMemoryAllocation"),
    ):
        assert hasattr(getattr(runtime, kind), member)
