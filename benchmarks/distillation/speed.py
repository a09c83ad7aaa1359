"""Table 8 of S2M2-SSD: what the teacher costs with its 2D network, and the student without, in one run, on one core.

Times do not depend on what weights are: networks of the recipes with random ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.checks import Context, Row, at_least, report_only
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.onnxruntime_backend import OnnxRuntimeBackend
from lidarloop_core.labelling.painting.paint import paint
from lidarloop_core.labelling.painting.semantic_model import open_semantic_model
from lidarloop_core.model.model_file import write_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_export.graph import with_raw_maps, without_raw_maps
from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource
from lidarloop_training.recipes.painted import painted_toytown
from lidarloop_training.recipes.voxel_toytown import voxel_toytown
from lidarloop_training.tasks.detection.task import DetectionConfig

Columns = dict[str, npt.NDArray[np.float32]]
"""Name of a column → (N,) its values."""

LEAST_RATIO = 6.5
REPEATS = 5


def check_speed(context: Context) -> Iterator[Row]:
    """The six pictures and the cloud of nuScenes' keyframe."""
    torch.manual_seed(0)
    sample = NuScenesSweepSource(context.data / "nuscenes_keyframe")[0]
    network = open_semantic_model(context.data / "models2d" / "espnetv2_s2_city_512x1024.onnx", num_threads=1)
    scores = network.score(sample.token, sample.cameras)
    columns = {name: sample.keyframe.points[:, i] for i, name in enumerate(sample.keyframe.columns)}
    teacher, student = (_detector(run.task, context) for run in (painted_toytown(), voxel_toytown()))
    image_ms = _median_ms(lambda: network.score(sample.token, sample.cameras))
    paint_ms = _median_ms(lambda: paint(sample.keyframe, sample.cameras, scores, len(network.class_names)))
    teacher_ms, student_ms = (_median_ms(_on_cloud(each, columns)) for each in (teacher, student))
    at = "nuScenes keyframe, one core"
    yield report_only(f"{at}: teacher, six pictures, ms", image_ms)
    yield report_only(f"{at}: teacher, painting the cloud, ms", paint_ms)
    yield report_only(f"{at}: teacher, painted cloud, ms", teacher_ms)
    yield report_only(f"{at}: student, cloud, ms", student_ms)
    ratio = (image_ms + paint_ms + teacher_ms) / student_ms
    yield at_least(f"{at}: teacher with its 2D network / student", ratio, LEAST_RATIO)


def _detector(task: DetectionConfig, context: Context) -> Detector:
    view = task.task().export_view(task.task().build().eval())
    path = context.scratch / f"{task.spec.name}.onnx"
    write_model(path, without_raw_maps(with_raw_maps(view), task.spec), task.spec)
    return Detector(OnnxRuntimeBackend(path, num_threads=1))


def _on_cloud(detector: Detector, columns: Columns) -> Callable[[], object]:
    points = _points(detector.spec, columns)
    return lambda: detector.detect(points)


def _points(spec: ModelSpec, columns: Columns) -> npt.NDArray[np.float32]:
    """(N, C) in the model's columns; paint and age are 0, which costs the same."""
    number = len(columns["x"])
    return np.stack([columns.get(name, np.zeros(number)) for name in spec.point_columns], axis=1).astype(np.float32)


def _median_ms(run: Callable[[], object]) -> float:
    run()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - started))
    return float(np.median(taken))
