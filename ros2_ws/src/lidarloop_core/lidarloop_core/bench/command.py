"""``lidarloop bench``: durations of the onboard steps on this machine, beside a reference's in the same run."""

from __future__ import annotations

import importlib
import importlib.util
import json as json_module
import math
import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tyro

from lidarloop_core.bench.lifting import time_lifting
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import bev_corners
from lidarloop_core.geometry.iou import bev_iou
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.io import atomic
from lidarloop_core.io.bag import message_type
from lidarloop_core.io.messages import cloud_message
from lidarloop_core.io.outputs import check_output
from lidarloop_core.labelling.lifting.synthetic_scene import synthetic_scene
from lidarloop_core.labelling.lifting_config import full_lifting, paper_lifting
from lidarloop_core.machine import load_1min, machine, versions
from lidarloop_core.pointcloud.decode import decode_cloud, read_points
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_core.pointcloud.grouping import group_pillars, group_pillars_reference

COLUMNS = ("x", "y", "z", "intensity")
_REACH_M = (-51.2, 51.2)
GRID = PillarGrid(_REACH_M, _REACH_M, (-5.0, 3.0), (0.4, 0.4), max_points_per_pillar=20, max_pillars=16_000)
"""The grid of ``bench grouping``: nuScenes' range in pillars of 0.4 m."""


@dataclass(frozen=True)
class Measurement:
    """Durations of one action.

    Attributes:
        name: the action.
        p50_ms, p99_ms: percentiles, milliseconds.
        num_runs: number of runs they are taken over.
    """

    name: str
    p50_ms: float
    p99_ms: float
    num_runs: int


@dataclass(frozen=True)
class Report:
    """The result of one benchmark.

    Attributes:
        title: what was measured on what.
        measurements: rows of the table.
        times_faster: other way → its median divided by ours.
    """

    title: str
    measurements: list[Measurement]
    times_faster: dict[str, float]


def bench(
    what: tyro.conf.Positional[Literal["decode", "grouping", "overlap", "inference", "labelling"]],
    *,
    model: Path | None = None,
    num_threads: int = 0,
    json: Path | None = None,
) -> None:
    """Measures one step of the onboard pipeline and prints a table.

    Args:
        what: decode: PointCloud2 bytes to points; grouping: points to pillars; overlap: rotated boxes;
            inference: cloud to boxes, stage by stage (needs --model); labelling: clouds and masks to pseudo-labels,
            stage by stage, without the 2D model.
        model: model file to measure, for inference.
        num_threads: number of threads of the network, 0 for as many as there are cores.
        json: also writes the figures to this file, with machine and versions.

    Raises:
        ConfigError: inference without a model, or figures that would replace it.
    """
    check_output(json, model)
    if what == "inference":
        if model is None:
            raise ConfigError(
                "bench inference received no model; expected --model PATH of a file from `lidarloop export`"
            )
        report = measure_inference(model, num_threads)
    else:
        measure = {"decode": measure_decode, "grouping": measure_grouping, "overlap": measure_overlap}
        report = (measure | {"labelling": measure_labelling})[what]()
    _print(report)
    if json is not None:
        document = {
            "command": sys.argv,
            "machine": {**machine(), "load_1min": load_1min()},
            "versions": versions("ros2-numpy", "shapely"),
            **asdict(report),
        }
        atomic.write_bytes(json, (json_module.dumps(document, indent=2) + "\n").encode())


def measure_decode(num_points: int = 200_000) -> Report:
    """PointCloud2 of four float32 fields → (N, 4) float32 without non-finite points, by each way."""
    values = np.random.default_rng(0).normal(size=(num_points, 4)).astype(np.float32)
    values[::1000, 0] = np.nan  # every real sensor has some
    columns = {name: values[:, i] for i, name in enumerate(COLUMNS)}
    types, numpify = _ros2_numpy() or (message_type, None)
    message = cloud_message(columns, 0, "lidar", types)
    ours = _measure("lidarloop: points", lambda: read_points(message, COLUMNS))
    per_point = _measure("per-point struct reader: points", lambda: _per_point(message), num_runs=5)
    rows = [ours, per_point]
    times_faster = {per_point.name: per_point.p50_ms / ours.p50_ms}
    if numpify is None:
        other = _measure(
            "structured dtype, the method of ros2_numpy (not installed): points", lambda: _structured(message)
        )
        rows.append(other)
        times_faster[other.name] = other.p50_ms / ours.p50_ms
    else:
        other = _measure("ros2_numpy: points", lambda: _ros2_numpy_points(numpify, message))
        view = _measure("lidarloop: view of the bytes", lambda: decode_cloud(message), num_runs=2000)
        other_view = _measure("ros2_numpy: view of the bytes", lambda: numpify(message), num_runs=2000)
        rows += [other, view, other_view]
        times_faster |= {other.name: other.p50_ms / ours.p50_ms, other_view.name: other_view.p50_ms / view.p50_ms}
    return Report(f"decode: {num_points:,} points × 4 float32", rows, times_faster)


def measure_grouping() -> Report:
    """One cloud → pillars of 0.4 m, by numba and by the numpy reference."""
    points, source = _cloud(("x", "y", "z", "intensity", "dt"))
    num_pillars = len(group_pillars(points, GRID).cell)
    ours = _measure("lidarloop (numba)", lambda: group_pillars(points, GRID))
    reference = _measure("numpy reference", lambda: group_pillars_reference(points, GRID), num_runs=20)
    return Report(
        f"grouping: {len(points):,} points → {num_pillars:,} pillars, {source}",
        [ours, reference],
        {reference.name: reference.p50_ms / ours.p50_ms},
    )


def measure_overlap(num_boxes: int = 500) -> Report:
    """Bird's-eye-view IoU of every pair of two sets of boxes, by numba and, where it is installed, by shapely."""
    random = np.random.default_rng(0)
    boxes = np.zeros((2, num_boxes, 9))
    boxes[..., :2] = random.uniform(-50, 50, (2, num_boxes, 2))
    boxes[..., 3:5] = random.uniform(0.5, 10, (2, num_boxes, 2))
    boxes[..., 6] = random.uniform(-np.pi, np.pi, (2, num_boxes))
    ours = _measure("lidarloop (numba)", lambda: bev_iou(boxes[0], boxes[1]))
    rows, times_faster = [ours], {}
    if importlib.util.find_spec("shapely"):
        other = _measure("shapely", lambda: _shapely_iou(boxes[0], boxes[1]), num_runs=5)
        rows.append(other)
        times_faster[other.name] = other.p50_ms / ours.p50_ms
    return Report(f"overlap: {num_boxes} × {num_boxes} rotated boxes", rows, times_faster)


def measure_inference(model: Path, num_threads: int) -> Report:
    """One cloud → boxes, stage by stage."""
    backend = open_backend(model, num_threads=num_threads)
    detector = Detector(backend)
    points, source = _cloud(backend.spec.point_columns)
    detector.warm_up()
    pictures = detector.trial_pictures()
    runs = [detector.detect(points, pictures).stage_ms for _ in range(200)]
    stages = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    stages["total"] = np.sum(list(stages.values()), axis=0)
    rows = [_summary(name, times_ms) for name, times_ms in stages.items()]
    return Report(f"inference: {len(points):,} points, {source}, {backend.spec.name} on {backend.device}", rows, {})


def measure_labelling() -> Report:
    """Masks and clouds of a synthetic scene of nuScenes' size → pseudo-labels, by the paper's steps and by all."""
    sample, found = synthetic_scene()
    rows, rates = [], []
    for name, config in (("paper", paper_lifting()), ("full", full_lifting())):
        times = time_lifting(config, sample, found)
        rows += [_summary(f"{name}: {stage}", ms) for stage, ms in times.stages.items()]
        rows.append(_summary(f"{name}: total", times.whole_ms))
        rates.append(f"{times.frames_per_s:.1f} frames/s with {name} lifting")
    size = f"{times.num_points:,} points of {len(sample.sweeps)} sweeps, {times.num_masks} masks in six images"
    return Report(f"labelling: synthetic scene, {size}; {', '.join(rates)}, in one thread", rows, {})


def _measure(name: str, action: Callable[[], object], *, num_runs: int = 200) -> Measurement:
    for _ in range(2):  # compiling, first touch of memory
        action()
    times_ms = np.empty(num_runs)
    for i in range(num_runs):
        start_ns = time.perf_counter_ns()
        action()
        times_ms[i] = (time.perf_counter_ns() - start_ns) / 1e6
    return _summary(name, times_ms)


def _summary(name: str, times_ms: npt.NDArray[np.float64]) -> Measurement:
    p50_ms, p99_ms = np.percentile(times_ms, [50, 99])
    return Measurement(name, float(p50_ms), float(p99_ms), len(times_ms))


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "p50 ms", "p99 ms", "runs", title=report.title, title_justify="left")
    for row in report.measurements:
        table.add_row(row.name, f"{row.p50_ms:.4g}", f"{row.p99_ms:.4g}", str(row.num_runs))
    console = Console()
    console.print(table)
    for name, ratio in report.times_faster.items():
        console.print(f"{ratio:.2f} × faster than {name}", highlight=False)


def _per_point(message: Any) -> npt.NDArray[np.float32]:
    """One point after another, as the readers do that users complain about."""
    unpack, isfinite = struct.Struct("<ffff").unpack_from, math.isfinite
    rows = (unpack(message.data, i * message.point_step) for i in range(message.width))
    return np.array([row for row in rows if isfinite(row[0]) and isfinite(row[1]) and isfinite(row[2])], np.float32)


def _structured(message: Any) -> npt.NDArray[np.float32]:
    """A structured view, a mask of finite points, then one field after another."""
    layout = np.dtype({"names": COLUMNS, "formats": ["<f4"] * 4, "offsets": [f.offset for f in message.fields]})
    cloud = np.frombuffer(message.data, layout)
    return _fields_to_points(cloud)


def _fields_to_points(cloud: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    cloud = cloud[np.isfinite(cloud["x"]) & np.isfinite(cloud["y"]) & np.isfinite(cloud["z"])]
    points = np.zeros((len(cloud), 4), np.float32)
    for i, name in enumerate(COLUMNS):
        points[:, i] = cloud[name]
    return points


def _ros2_numpy() -> tuple[Callable[[str], Any], Callable[[Any], Any]] | None:
    """ros2_numpy's reader and the message classes it was made for, where it is installed with a ROS 2."""
    try:
        module = importlib.import_module("ros2_numpy")
        importlib.import_module("sensor_msgs.msg")
    except ImportError:
        return None

    def types(name: str) -> Any:
        package, kind, cls = name.split("/")
        return getattr(importlib.import_module(f"{package}.{kind}"), cls)

    return types, module.numpify


def _ros2_numpy_points(numpify: Callable[[Any], Any], message: Any) -> npt.NDArray[np.float32]:
    """What a user of ros2_numpy does to get points for a network; its versions give a dict or a structured array."""
    cloud = numpify(message)
    if not isinstance(cloud, dict):
        return _fields_to_points(cloud)
    finite = np.isfinite(cloud["xyz"]).all(axis=1)
    intensity = cloud["intensity"].reshape(len(finite), -1)[finite, :1]
    return np.column_stack([cloud["xyz"][finite], intensity]).astype(np.float32)


def _shapely_iou(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    shapely = importlib.import_module("shapely")
    first, second = shapely.polygons(bev_corners(a))[:, None], shapely.polygons(bev_corners(b))[None, :]
    shared = shapely.area(shapely.intersection(first, second))
    iou: npt.NDArray[Any] = shared / (shapely.area(first) + shapely.area(second) - shared)
    return iou


def _cloud(columns: tuple[str, ...]) -> tuple[npt.NDArray[np.float32], str]:
    """A real nuScenes keyframe from $LIDARLOOP_REAL_DATA or ../shared/data, else a synthetic sweep; and which it is."""
    folder = Path(os.environ.get("LIDARLOOP_REAL_DATA", "../shared/data")) / "nuscenes_keyframe"
    files = sorted(folder.rglob("*LIDAR_TOP*.bin"))
    if files:
        scan = np.fromfile(files[0], np.float32).reshape(-1, 5)[:, :4]
        source = "nuScenes keyframe"
    else:
        scan, source = _synthetic_sweep(), "synthetic 32-beam sweep"
    points = np.zeros((len(scan), len(columns)), np.float32)
    for i, name in enumerate(columns):
        if name in COLUMNS:
            points[:, i] = scan[:, COLUMNS.index(name)]
    return points, source


def _synthetic_sweep() -> npt.NDArray[np.float32]:
    """32 beams × 1084 azimuths over flat ground between walls at 5 to 60 m."""
    random = np.random.default_rng(0)
    azimuth_rad = np.linspace(-np.pi, np.pi, 1084, endpoint=False)[:, None]
    elevation_rad = np.deg2rad(np.linspace(-30.67, 10.67, 32))[None, :]
    wall_m = np.repeat(random.uniform(5, 60, 136), 8)[:1084, None]
    with np.errstate(divide="ignore"):
        ground_m = np.where(elevation_rad < 0, -1.84 / np.tan(elevation_rad), np.inf)
    range_m = np.minimum(wall_m, ground_m) * random.normal(1, 0.002, (1084, 32))
    x, y = range_m * np.cos(azimuth_rad), range_m * np.sin(azimuth_rad)
    z, intensity = range_m * np.tan(elevation_rad), random.uniform(0, 255, range_m.shape)
    sweep: npt.NDArray[np.float32] = np.stack([x, y, z, intensity], axis=-1).reshape(-1, 4).astype(np.float32)
    return sweep
