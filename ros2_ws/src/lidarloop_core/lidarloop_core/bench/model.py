"""`lidarloop bench model MODEL`: a model's stages on one backend, beside the least time the device could take."""

from __future__ import annotations

import json as json_module
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tyro

from lidarloop_core.bench.energy import cpu_joules, gpu_joules
from lidarloop_core.bench.roofline import Rates, floor_ms, network_cost, rates_of
from lidarloop_core.errors import BackendError, ConfigError
from lidarloop_core.inference.backend import Backend, open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.io import atomic
from lidarloop_core.machine import load_1min, machine, versions
from lidarloop_core.model.model_file import read_model
from lidarloop_core.model.spec import INPUT_NAMES, ModelSpec
from lidarloop_core.pointcloud.grouping import group_pillars

PROVIDERS = {
    "onnxruntime": ("CPUExecutionProvider",),
    "onnxruntime-cuda": ("CUDAExecutionProvider",),
    "onnxruntime-tensorrt": ("TensorrtExecutionProvider",),
    "tensorrt": ("tensorrt",),
}


@dataclass(frozen=True)
class Stage:
    """Milliseconds of one stage."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ModelTimes:
    """A model on clouds of one size.

    Attributes:
        num_points: of the cloud.
        num_pillars: that it was grouped in.
        stages: ``group``, ``copy_in``, ``network``, ``copy_out`` (where the backend tells them apart), ``postprocess``,
            and ``total``.
        clouds_per_s: one after another.
        rss_mb: resident memory of this process.
        joules_per_cloud: of the GPU, else of the processor; None where neither tells.
        floor_ms: least time of the network on this device; None where its rates are not known.
        times_floor: the network's p50 over that.
    """

    num_points: int
    num_pillars: int
    stages: dict[str, Stage]
    clouds_per_s: float
    rss_mb: float
    joules_per_cloud: float | None
    floor_ms: float | None
    times_floor: float | None


def bench_model(
    model: tyro.conf.Positional[Path],
    *,
    backend: Literal["onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"] = "onnxruntime",
    points: str = "30k,120k,300k",
    warmup: int = 10,
    repeat: int = 100,
    num_threads: int = 0,
    tflops: float | None = None,
    gbps: float | None = None,
    json: Path | None = None,
) -> None:
    """Measures a model file stage by stage.

    Args:
        model: the model file, in any precision.
        backend: what runs it.
        points: sizes of the clouds, e.g. 30k,120k.
        warmup: runs before the clock.
        repeat: runs on the clock, per size.
        num_threads: onnxruntime on the CPU only: threads of the network, 0 for as many as there are cores.
        tflops: the device's rate in the model's precision, for the floor, where it is not known here.
        gbps: the device's memory bandwidth in 10⁹ bytes a second, for the same.
        json: also writes the figures to this file.
    """
    sizes = parse_sizes(points)
    opened = open_backend(model, providers=PROVIDERS[backend], num_threads=num_threads)
    precision = read_model(model).precision
    if (tflops is None) != (gbps is None):
        raise ConfigError("bench model received one of --tflops and --gbps; expected both or neither")
    known = rates_of(opened.device)
    rates = known if tflops is None or gbps is None else Rates({precision: tflops}, gbps)
    rows = [measure(opened, model, size, rates, precision, warmup=warmup, repeat=repeat) for size in sizes]
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
    backend: Backend,
    model: Path,
    num_points: int,
    rates: Rates | None,
    precision: str,
    *,
    warmup: int,
    repeat: int,
    cloud: npt.NDArray[np.float32] | None = None,
) -> ModelTimes:
    """Times of one backend on one cloud, made up where none is given."""
    points = made_up_cloud(backend.spec, num_points) if cloud is None else cloud
    detector = Detector(backend)
    step = _timed_step(backend, detector)
    for _ in range(warmup):
        step(points)
    joules = gpu_joules if _is_gpu(backend) else cpu_joules
    before, start = joules(), time.perf_counter()
    runs = [step(points) for _ in range(repeat)]
    elapsed_s, after = time.perf_counter() - start, joules()
    stages = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    stages["total"] = np.sum(list(stages.values()), axis=0)
    index = group_pillars(points, backend.spec)
    floor = _floor(model, rates, precision, len(index.points), len(index.cell))
    network = "network" if "network" in stages else "infer"
    return ModelTimes(
        num_points=len(points),
        num_pillars=len(index.cell),
        stages={name: Stage(*(float(v) for v in np.percentile(ms, [50, 99]))) for name, ms in stages.items()},
        clouds_per_s=repeat / elapsed_s,
        rss_mb=_rss_mb(),
        joules_per_cloud=None if before is None or after is None or after < before else (after - before) / repeat,
        floor_ms=floor,
        times_floor=None if floor is None else float(np.median(stages[network])) / floor,
    )


def _timed_step(backend: Backend, detector: Detector) -> Callable[[npt.NDArray[np.float32]], dict[str, float]]:
    """One run, and its stages' times: a backend that can tell copies from the network is asked to, every other run.

    Its total then comes from whole runs, which launch a graph and are faster than the sum of their parts.
    """
    timed: Any = getattr(backend, "infer_timed", None)

    def step(points: npt.NDArray[np.float32]) -> dict[str, float]:
        stages = detector.detect(points).stage_ms
        if timed is None:
            return stages
        index = group_pillars(points, backend.spec)
        _, parts = timed(dict(zip(INPUT_NAMES, (index.points, index.slot, index.cell, index.count), strict=True)))
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


def made_up_cloud(spec: ModelSpec, num_points: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Points all over the range, denser near the sensor as a LiDAR's are."""
    random = np.random.default_rng(seed)
    ranges = np.array([spec.x_range_m, spec.y_range_m, spec.z_range_m])
    distance, angle = random.random(num_points) ** 1.5, random.uniform(-np.pi, np.pi, num_points)
    unit = np.stack([distance * np.cos(angle), distance * np.sin(angle), random.uniform(-1, 1, num_points)], axis=1)
    points = np.zeros((num_points, len(spec.point_columns)), np.float32)
    points[:, :3] = ranges.mean(axis=1) + 0.999 * unit * np.ptp(ranges, axis=1) / 2
    return points


def _floor(model: Path, rates: Rates | None, precision: str, num_points: int, num_pillars: int) -> float | None:
    if rates is None:
        return None
    try:
        return floor_ms(network_cost(read_model(model).onnx_bytes, num_points, num_pillars), rates, precision)
    except BackendError:  # onnx is not installed: not on every vehicle
        return None


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
    table.add_row("pillars", *(f"{row.num_pillars:,}" for row in rows))
    table.add_row("clouds a second", *(f"{row.clouds_per_s:.1f}" for row in rows))
    table.add_row("memory, MB", *(f"{row.rss_mb:.0f}" for row in rows))
    table.add_row(
        "energy, J a cloud", *("–" if r.joules_per_cloud is None else f"{r.joules_per_cloud:.3g}" for r in rows)
    )
    floors = ("–" if r.floor_ms is None else f"{r.floor_ms:.3g} ms, × {r.times_floor:.2g}" for r in rows)
    table.add_row("floor of the network", *floors)
    Console().print(table)
