"""`lidarloop bench model MODEL`: a model's stages on one backend, beside the network's roofline on the device."""

from __future__ import annotations

import json as json_module
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import tyro

from lidarloop_core.bench.energy import cpu_joules, gpu_joules
from lidarloop_core.bench.roofline import Rates, network_cost, rates_of, roofline_ms
from lidarloop_core.errors import BackendError, ConfigError
from lidarloop_core.inference.backend import Backend, open_backend
from lidarloop_core.inference.cloud_model import CloudModel, graph_inputs
from lidarloop_core.inference.model_on import model_on
from lidarloop_core.io import atomic
from lidarloop_core.io.outputs import check_output
from lidarloop_core.machine import load_1min, machine, versions
from lidarloop_core.model.model_file import read_model
from lidarloop_core.model.spec import ModelSpec

PROVIDERS = {
    "onnxruntime": ("CPUExecutionProvider",),
    "onnxruntime-cuda": ("CUDAExecutionProvider",),
    "onnxruntime-tensorrt": ("TensorrtExecutionProvider",),
    "tensorrt": ("tensorrt",),
}


@dataclass(frozen=True)
class Stage:
    """The duration of one stage, milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ModelTimes:
    """A model on clouds of one size.

    Attributes:
        num_points: number of points in the cloud.
        num_cells: number of pillars or voxels that it was grouped in.
        stages: name → duration: ``group``, ``copy_in``, ``network``, ``copy_out`` (or ``infer`` where the backend does
            not separate them), ``postprocess`` and ``total``.
        clouds_per_s: clouds a second, one after another.
        rss_mb: resident memory of this process, 10⁶ bytes.
        joules_per_cloud: energy of the GPU, else of the processor; None where neither counts it.
        roofline_ms: least time of the network on this device; None where its rates are not known.
        times_roofline: the network's p50 over that.
    """

    num_points: int
    num_cells: int
    stages: dict[str, Stage]
    clouds_per_s: float
    rss_mb: float
    joules_per_cloud: float | None
    roofline_ms: float | None
    times_roofline: float | None


@dataclass(frozen=True)
class Runs:
    """How often a model runs.

    Attributes:
        warmup: runs before the clock.
        repeat: runs on the clock, per size.
    """

    warmup: int = 10
    repeat: int = 100


@dataclass(frozen=True)
class GivenRates:
    """A device's rates for the roofline, where they are not known here.

    Attributes:
        tflops: the device's rate in the model's precision, 10¹² operations a second.
        gbps: the device's memory bandwidth, 10⁹ bytes a second.
    """

    tflops: float | None = None
    gbps: float | None = None

    def or_known(self, precision: str, device: str) -> Rates | None:
        """These rates, or else those known of the device; None where there are none.

        Raises:
            ConfigError: one of the two without the other.
        """
        if (self.tflops is None) != (self.gbps is None):
            raise ConfigError("bench model received one of --tflops and --gbps; expected both or neither")
        if self.tflops is None or self.gbps is None:
            return rates_of(device)
        return Rates({precision: self.tflops}, self.gbps)


def bench_model(
    model: tyro.conf.Positional[Path],
    *,
    backend: Literal["onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"] = "onnxruntime",
    points: str = "30k,120k,300k",
    runs: Annotated[Runs, tyro.conf.arg(name="")] = Runs(),
    num_threads: int = 0,
    rates: Annotated[GivenRates, tyro.conf.arg(name="")] = GivenRates(),
    json: Path | None = None,
) -> None:
    """Measures a model file stage by stage.

    Args:
        model: the model file, in any precision.
        backend: what runs it.
        points: sizes of the clouds, e.g. 30k,120k.
        runs: how often it runs.
        num_threads: onnxruntime on the CPU only: threads of the network, 0 for as many as there are cores.
        rates: the device's rates.
        json: also writes the figures to this file.

    Raises:
        ConfigError: figures that would replace the model, sizes that are no numbers, or one of --tflops and --gbps
            alone.
    """
    check_output(json, model)
    sizes = parse_sizes(points)
    opened = open_backend(model, providers=PROVIDERS[backend], num_threads=num_threads)
    precision = read_model(model).precision
    known = rates.or_known(precision, opened.device)
    rows = [measure(opened, model, synthetic_cloud(opened.spec, size), known, runs) for size in sizes]
    _print(rows, f"{model.name} ({precision}) on {opened.device}")
    if json is not None:
        document = {
            "command": sys.argv,
            "model": model.name,
            "model_sha256": opened.model_sha256,
            "precision": precision,
            "device": opened.device,
            "machine": {**machine(), "load_1min": load_1min()},
            "versions": versions(),
            "rows": [asdict(row) for row in rows],
        }
        atomic.write_bytes(json, (json_module.dumps(document, indent=1) + "\n").encode())


def parse_sizes(text: str) -> list[int]:
    """``"30k,120k"`` → [30000, 120000].

    Raises:
        ConfigError: something else.
    """
    try:
        sizes = [round(float(part.strip().lower().removesuffix("k")) * (1000 if "k" in part.lower() else 1))
                 for part in text.split(",")]  # fmt: skip
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise ConfigError(f"bench model received --points {text}; expected sizes such as 30k,120k,300k")
    return sizes


def measure(
    backend: Backend, model: Path, points: npt.NDArray[np.float32], rates: Rates | None, runs: Runs
) -> ModelTimes:
    """Times of one backend on one cloud.

    Args:
        backend: the model, opened.
        model: its file.
        points: (N, C) float32 in the model's columns.
        rates: the device's, for the roofline; None where they are not known.
        runs: how often it runs.
    """
    detector = model_on(backend)
    step = _timed_step(backend, detector)
    for _ in range(runs.warmup):
        step(points)
    joules = gpu_joules if _is_gpu(backend) else cpu_joules
    before, start = joules(), time.perf_counter()
    durations = [step(points) for _ in range(runs.repeat)]
    elapsed_s, after = time.perf_counter() - start, joules()
    stages = {name: np.array([run[name] for run in durations]) for name in durations[0]}
    stages["total"] = np.sum(list(stages.values()), axis=0)
    index = detector.group(points)
    least_ms = _roofline_ms(model, rates, graph_inputs(index, detector.spec, detector.trial_pictures()))
    network = "network" if "network" in stages else "infer"
    return ModelTimes(
        num_points=len(points),
        num_cells=index.num_cells,
        stages={name: Stage(*(float(v) for v in np.percentile(ms, [50, 99]))) for name, ms in stages.items()},
        clouds_per_s=runs.repeat / elapsed_s,
        rss_mb=_rss_mb(),
        joules_per_cloud=_per_run(before, after, runs.repeat),
        roofline_ms=least_ms,
        times_roofline=None if least_ms is None else float(np.median(stages[network])) / least_ms,
    )


def _timed_step(backend: Backend, detector: CloudModel) -> Callable[[npt.NDArray[np.float32]], dict[str, float]]:
    """One run and the durations of its stages.

    A backend that can separate copies from the network does so in a run of its own. The total then comes from runs in
    one piece, which launch a graph and are faster than the sum of their parts.
    """
    timed: Any = getattr(backend, "infer_timed", None)
    pictures = detector.trial_pictures()

    def step(points: npt.NDArray[np.float32]) -> dict[str, float]:
        stages = detector.answer(points, pictures).stage_ms
        if timed is None:
            return stages
        _, parts = timed(graph_inputs(detector.group(points), detector.spec, pictures))
        # What the graph saves is taken from the network's share.
        network = max(0.0, stages["infer"] - parts["copy_in"] - parts["copy_out"])
        return {
            "group": stages["group"],
            "copy_in": parts["copy_in"],
            "network": network,
            "copy_out": parts["copy_out"],
            "postprocess": stages["postprocess"],
        }

    return step


def synthetic_cloud(spec: ModelSpec, num_points: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """(N, C) points all over the model's range, metres, denser near the sensor as a LiDAR's are; other columns 0."""
    random = np.random.default_rng(seed)
    ranges = np.array(spec.grid.ranges_m)
    distance, angle = random.random(num_points) ** 1.5, random.uniform(-np.pi, np.pi, num_points)
    unit = np.stack([distance * np.cos(angle), distance * np.sin(angle), random.uniform(-1, 1, num_points)], axis=1)
    points = np.zeros((num_points, len(spec.point_columns)), np.float32)
    points[:, :3] = ranges.mean(axis=1) + 0.999 * unit * np.ptp(ranges, axis=1) / 2
    return points


def _roofline_ms(model: Path, rates: Rates | None, inputs: Mapping[str, npt.NDArray[Any]]) -> float | None:
    if rates is None:
        return None
    file = read_model(model)
    shapes = {name: array.shape for name, array in inputs.items()}
    try:
        return roofline_ms(network_cost(file.onnx_bytes, shapes), rates, file.precision)
    except BackendError:  # onnx is not installed: not on every vehicle
        return None


def _per_run(before: float | None, after: float | None, num_runs: int) -> float | None:
    """What a counter went up by for each run; None where it cannot be read, or began anew."""
    if before is None or after is None or after < before:
        return None
    return (after - before) / num_runs


def _is_gpu(backend: Backend) -> bool:
    return "CPUExecutionProvider" not in backend.device


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _print(rows: list[ModelTimes], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("p50 / p99, ms", *(f"{row.num_points:,} points" for row in rows), title=title, title_justify="left")
    for name in rows[0].stages:
        found = [row.stages[name] for row in rows]
        table.add_row(name, *(f"{stage.p50_ms:.3g} / {stage.p99_ms:.3g}" for stage in found))
    table.add_row("pillars or voxels", *(f"{row.num_cells:,}" for row in rows))
    table.add_row("clouds a second", *(f"{row.clouds_per_s:.1f}" for row in rows))
    table.add_row("memory, MB", *(f"{row.rss_mb:.0f}" for row in rows))
    table.add_row(
        "energy, J a cloud", *("–" if r.joules_per_cloud is None else f"{r.joules_per_cloud:.3g}" for r in rows)
    )
    least = ("–" if r.roofline_ms is None else f"{r.roofline_ms:.3g} ms, × {r.times_roofline:.2g}" for r in rows)
    table.add_row("roofline of the network", *least)
    Console().print(table)
