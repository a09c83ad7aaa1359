from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.errors import BackendError, CloudFormatError, ModelFileError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.host_pipeline import HostPipeline
from lidarloop_core.inference.model_on import model_on
from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels, Segmenter
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import Sweep
from tests.builders import VOXEL_DETECTOR, VOXEL_SEGMENTER, make_spec

NUM_CLASSES = len(VOXEL_SEGMENTER.class_names)


class ByIntensity:
    """A backend with a closed form: score = intensity / 255, label = ⌊intensity / 30⌋; NaN stays NaN."""

    model_sha256 = "0" * 64
    device = "nowhere"

    def __init__(self, spec: ModelSpec = VOXEL_SEGMENTER, *, is_broken: bool = False) -> None:
        self.spec = spec
        self.is_broken = is_broken
        self.num_calls = 0

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.num_calls += 1
        assert list(inputs) == [tensor.name for tensor in self.spec.inputs]
        intensity = inputs["points"][:, 3]
        scores = intensity / 255 if not self.is_broken else np.full(len(intensity), np.nan)
        return {"scores": scores.astype(np.float32), "labels": np.nan_to_num(intensity / 30).astype(np.int64)}


def cloud(*rows: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 5)


def test_every_point_gets_the_networks_label_and_score() -> None:
    found = Segmenter(ByIntensity()).segment(cloud((1, 2, 0, 51, 0), (-3, 1, 1, 255, 0), (1, 2, 0, 100, 0.1)))
    assert found.labels.dtype == np.uint8
    assert found.labels.tolist() == [1, 8, 3]
    np.testing.assert_allclose(found.scores, [0.2, 1.0, 100 / 255], rtol=1e-6)
    assert (found.num_points, found.num_out_of_range, found.num_thinned, found.overfull) == (3, 0, 0, ())
    assert set(found.stage_ms) == {"group", "infer", "postprocess"}


def test_points_out_of_range_get_no_label() -> None:
    found = Segmenter(ByIntensity()).segment(cloud((1, 2, 0, 51, 0), (99, 0, 0, 60, 0), (0, 0, np.nan, 60, 0)))
    assert found.labels.tolist() == [1, NO_LABEL, NO_LABEL]
    np.testing.assert_allclose(found.scores, [0.2, 0, 0], rtol=1e-6)
    assert found.num_out_of_range == 2


@pytest.mark.parametrize("num_points", [0, 3])
def test_nothing_in_range_is_answered_without_running_the_network(num_points: int) -> None:
    backend = ByIntensity()
    found = Segmenter(backend).segment(np.full((num_points, 5), 999, np.float32))
    assert found.labels.tolist() == [NO_LABEL] * num_points
    assert not found.scores.any()
    assert backend.num_calls == 0


def test_points_of_voxels_above_capacity_get_no_label_and_are_counted() -> None:
    spec = make_spec(VOXEL_SEGMENTER, capacity=10)
    x, y = np.meshgrid(np.arange(-7.8, 8.0, 0.4), np.arange(-5.0, 5.0, 0.4))
    points = np.zeros((x.size, 5), np.float32)
    points[:, 0], points[:, 1], points[:, 3] = x.ravel(), y.ravel(), 255
    found = Segmenter(ByIntensity(spec)).segment(points)
    assert found.num_thinned == np.count_nonzero(found.labels == NO_LABEL) == x.size - 10
    assert found.overfull == (f"{x.size} voxels at level 0, the model takes 10",)


def test_scores_that_are_not_finite_are_a_fault_with_its_cause() -> None:
    with pytest.raises(BackendError, match="gave scores that are not finite; expected numbers"):
        Segmenter(ByIntensity(is_broken=True)).segment(cloud((1, 2, 0, 51, 0)))
    with pytest.raises(CloudFormatError, match="gave scores that are not finite for this cloud"):
        Segmenter(ByIntensity()).segment(cloud((1, 2, 0, np.nan, 0)))


def test_a_cloud_of_other_columns_is_refused() -> None:
    with pytest.raises(CloudFormatError, match=r"received points of shape \(4, 3\)"):
        Segmenter(ByIntensity()).segment(np.zeros((4, 3), np.float32))


def test_a_model_is_what_its_outputs_say() -> None:
    assert isinstance(model_on(ByIntensity()), Segmenter)
    assert isinstance(model_on(ByIntensity(VOXEL_DETECTOR)), Detector)
    assert model_on(ByIntensity()).class_names == VOXEL_SEGMENTER.class_names
    with pytest.raises(ModelFileError, match="model for detection; expected a segmenter"):
        Segmenter(ByIntensity(VOXEL_DETECTOR))
    with pytest.raises(ModelFileError, match="model for segmentation; expected a detector"):
        Detector(ByIntensity())
    many = dataclasses.replace(VOXEL_SEGMENTER, class_names=tuple(f"class {i}" for i in range(256)))
    with pytest.raises(ModelFileError, match="256 classes of points; expected at most 255"):
        Segmenter(ByIntensity(many))


def test_warm_up_runs_small_and_full_clouds() -> None:
    backend = ByIntensity()
    Segmenter(backend).warm_up()
    assert backend.num_calls >= 2


def sweep(stamp_s: float, *rows: tuple[float, ...]) -> Sweep:
    points = np.array(rows, np.float32).reshape(-1, 4)
    return Sweep(points, ("x", "y", "z", "intensity"), round(stamp_s * 1e9), SE3.identity(), SE3.identity())


def labels_of(pipeline: HostPipeline, newest: Sweep) -> list[int]:
    found = pipeline.answer(newest).found
    assert isinstance(found, PointLabels)
    assert len(found.labels) == len(found.scores) == len(newest.points)
    return [int(label) for label in found.labels]


def test_labels_are_those_of_the_newest_sweep() -> None:
    pipeline = HostPipeline(Segmenter(ByIntensity()), 1000)
    pipeline.warm_up()
    assert labels_of(pipeline, sweep(1.0, (1, 1, 0, 30), (2, 2, 0, 60), (3, 3, 0, 90))) == [1, 2, 3]
    second = sweep(1.1, (1, 1, 0, 120), (90, 2, 0, 150))
    assert labels_of(pipeline, second) == [4, NO_LABEL]
    assert pipeline.answer(second).num_sweeps == 2
    assert pipeline.answer(second).num_points == 5


def test_points_left_out_of_a_cloud_that_is_too_large_have_no_label() -> None:
    pipeline = HostPipeline(Segmenter(ByIntensity()), 4)
    first = sweep(1.0, *[(1, 1, 0, 30)] * 3)
    assert labels_of(pipeline, first) == [1, 1, 1]
    found = pipeline.answer(sweep(1.1, *[(2, 2, 0, 60)] * 4))
    assert isinstance(found.found, PointLabels)
    assert found.found.labels.tolist() == [2, NO_LABEL, 2, NO_LABEL]  # every second of 7
    assert (found.found.num_points, found.num_points) == (4, 7)
