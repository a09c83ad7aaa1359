"""Clouds as the detector node gets them: layouts that contradict themselves, hostile values in every column."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lidarloop_core.errors import BackendError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.host_pipeline import HostPipeline
from lidarloop_core.inference.onnxruntime_backend import OnnxRuntimeBackend
from lidarloop_core.io.bag import message_type
from lidarloop_core.io.messages import cloud_message
from lidarloop_core.model.model_file import write_model
from lidarloop_ros.detector.cloud_health import health_problems, inspect
from lidarloop_ros.detector.pipeline import CloudPipeline
from lidarloop_ros.inputs.motion import SensorPose
from lidarloop_ros.messages.serialised import detections_bytes, markers_bytes
from tests.builders import make_spec
from tests.fuzz import mutate
from tests.fuzz.networks import mean_network
from tests.fuzz.ros_messages import hostile

STAMP_NS = 1_700_000_000_000_000_000


@cache
def _pipeline() -> CloudPipeline:
    spec = make_spec(point_columns=("x", "y", "z", "intensity", "dt"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_model(path, mean_network(spec), spec)
        detector = Detector(OnnxRuntimeBackend(path, num_threads=1))
    sweeps = HostPipeline(detector, max_points=10_000)
    sweeps.warm_up()
    return CloudPipeline(sweeps, lambda stamp_ns, frame: SensorPose(SE3.identity(), SE3.identity()))


def case(rng: Random, folder: Path) -> Callable[[], object]:
    random = np.random.default_rng(rng.getrandbits(32))
    num_points = rng.choice((0, 1, 2, 300))
    columns: dict[str, Any] = {name: random.normal(0, 5, num_points).astype(np.float32) for name in "xyz"}
    columns["intensity"] = random.integers(0, 256, num_points).astype(rng.choice((np.float32, np.uint8, np.float64)))
    columns["dt"] = np.zeros(num_points, np.float32)
    for _ in range(rng.choice((0, 1, 1, 2))):
        _spoil(rng, columns[rng.choice(("x", "z", "intensity", "intensity", "dt"))])
    message = cloud_message(columns, STAMP_NS, "lidar_top", message_type)
    if rng.random() < 0.6:
        message = hostile(rng, message)
    return lambda: _detect(message)


def _spoil(rng: Random, column: np.ndarray) -> None:
    share = rng.choice((0.01, 0.1, 1.0))
    for i in range(len(column)):
        if rng.random() < share or i == 0:
            with np.errstate(over="ignore", invalid="ignore"):
                column[i] = np.array(mutate.number(rng), np.float64).astype(column.dtype)


def _detect(message: Any) -> None:
    pipeline = _pipeline()
    try:
        result = pipeline.process(message)
    except BackendError as error:  # the node would take its network for broken, and end
        raise AssertionError(f"a cloud made the network's answer unusable: {error}") from error
    assert np.isfinite(result.boxes.values[:, :7]).all()
    health_problems(inspect(result.newest_points, result.columns), pipeline.model.spec)
    for serialise in (detections_bytes, markers_bytes):
        serialise(result.boxes, STAMP_NS, "lidar_top")
    pipeline.process(dataclasses.replace(_calm(), header=message.header))


@cache
def _calm() -> Any:
    """A sound cloud: what comes after a hostile one has to be answered as ever."""
    columns = {name: np.ones(20, np.float32) for name in ("x", "y", "z", "intensity", "dt")}
    return cloud_message(columns, STAMP_NS, "lidar_top", message_type)
