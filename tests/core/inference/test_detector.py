from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import BackendError, CloudFormatError, ConfigError
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.model.model_file import write_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.decode import read_points
from lidarloop_core.pointcloud.encode import encode_points

SixBoxes = tuple[np.ndarray, np.ndarray, np.ndarray]


class FixedBackend:
    """Gives the same outputs each time and counts how often it was asked."""

    model_sha256 = "0" * 64
    device = "nowhere"

    def __init__(self, spec: ModelSpec, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> None:
        self.spec = spec
        self.outputs = {"boxes": boxes, "scores": scores.astype(np.float32), "labels": labels.astype(np.int64)}
        self.num_calls = 0

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.num_calls += 1
        assert inputs["points"].dtype == np.float32
        assert len(inputs["points"]) == len(inputs["slot"]) >= 1
        assert len(inputs["cell"]) == len(inputs["count"]) >= 1
        return {name: value.copy() for name, value in self.outputs.items()}


ONE_POINT = np.zeros((1, 5), np.float32)


def test_boxes_pass_the_threshold_and_suppression_of_their_class(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    found = Detector(FixedBackend(spec, *six_boxes)).detect(ONE_POINT).boxes
    # Best first; the weaker car on the same spot goes, the pedestrian there stays, the weak trucks go.
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.5])
    assert found.names == ["car", "car", "pedestrian"]
    np.testing.assert_allclose(found.values[:, 0], [0.2, 20.0, 0.0])


def test_thresholds_may_differ_by_class(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    thresholds = np.full(10, 0.04)
    thresholds[0] = 0.8
    found = Detector(FixedBackend(spec, *six_boxes), score_threshold=thresholds.tolist()).detect(ONE_POINT).boxes
    assert found.names == ["car", "pedestrian", "truck"]
    suppression = [1.0, *[0.2] * 9]
    found = Detector(FixedBackend(spec, *six_boxes), nms_iou=suppression).detect(ONE_POINT).boxes
    assert found.names == ["car", "car", "car", "pedestrian"]


def test_nothing_to_look_at_gives_no_boxes_without_running_the_network(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    backend = FixedBackend(spec, *six_boxes)
    detector = Detector(backend)
    for points in (np.zeros((0, 5), np.float32), np.full((3, 5), 999, np.float32), np.full((3, 5), np.nan, np.float32)):
        found = detector.detect(points)
        assert len(found.boxes) == 0
        assert found.num_out_of_range == found.num_points == len(points)
        assert set(found.stage_ms) == {"group", "infer", "postprocess"}
    assert backend.num_calls == 0


def test_counts_of_the_grouping_are_reported(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    crowd = np.zeros((9, 5), np.float32)
    far = np.full((2, 5), 100, np.float32)
    found = Detector(FixedBackend(spec, *six_boxes)).detect(np.vstack([crowd, far]))
    assert (found.num_points, found.num_out_of_range, found.num_over_full, found.num_thinned) == (11, 2, 4, 0)
    x, y = np.meshgrid(np.arange(-7.75, 8, 0.5), np.arange(-3.75, 4, 0.5))
    everywhere = np.zeros((x.size, 5), np.float32)
    everywhere[:, 0], everywhere[:, 1] = x.ravel(), y.ravel()
    found = Detector(FixedBackend(spec, *six_boxes)).detect(everywhere)
    assert (found.num_thinned, found.overfull) == (512 - 64, ("512 pillars, the model takes 64",))
    assert len(found.boxes) == 3


def test_stage_times_are_positive_and_small(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    detector = Detector(FixedBackend(spec, *six_boxes))
    detector.warm_up()
    assert all(0 < ms < 1000 for ms in detector.detect(ONE_POINT).stage_ms.values())


def test_warm_up_runs_small_and_full_clouds(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    backend = FixedBackend(spec, *six_boxes)
    Detector(backend).warm_up()
    assert backend.num_calls >= 2


@pytest.mark.parametrize("column", [0, 3, 6, 8])
def test_boxes_that_are_not_finite_are_a_fault_not_silence(spec: ModelSpec, six_boxes: SixBoxes, column: int) -> None:
    six_boxes[0][1, column] = np.nan
    with pytest.raises(BackendError, match="gave boxes that are not finite"):
        Detector(FixedBackend(spec, *six_boxes)).detect(ONE_POINT)


def test_a_score_that_is_no_number_is_a_fault(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    six_boxes[1][5] = np.nan
    with pytest.raises(BackendError, match="not finite"):
        Detector(FixedBackend(spec, *six_boxes)).detect(ONE_POINT)


def test_a_cloud_that_alone_gives_boxes_that_are_not_finite_is_refused_not_the_backend(
    spec: ModelSpec, six_boxes: SixBoxes
) -> None:
    class Overflowing(FixedBackend):
        def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
            outputs = super().infer(inputs)
            if inputs["points"].max() > 1e30:
                outputs["boxes"][0, 3] = np.inf
            return outputs

    detector = Detector(Overflowing(spec, *six_boxes))
    wild = np.array([[1, 1, 0, 3e38, 0]], np.float32)
    with pytest.raises(CloudFormatError, match="not finite for this cloud, though not for an ordinary one"):
        detector.detect(wild)
    assert len(detector.detect(ONE_POINT).boxes) == 3


def test_rubbish_below_the_threshold_does_no_harm(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    six_boxes[0][5] = np.inf
    assert len(Detector(FixedBackend(spec, *six_boxes)).detect(ONE_POINT).boxes) == 3


def test_a_cloud_with_other_columns_is_refused(spec: ModelSpec, six_boxes: SixBoxes) -> None:
    with pytest.raises(CloudFormatError, match=r"shape \(3, 4\); expected \(N, 5\): x, y, z, intensity, dt"):
        Detector(FixedBackend(spec, *six_boxes)).detect(np.zeros((3, 4), np.float32))


@pytest.mark.parametrize("options", [{"score_threshold": 1.5}, {"nms_iou": -0.1}, {"nms_iou": float("nan")}])
def test_impossible_thresholds_are_refused(spec: ModelSpec, six_boxes: SixBoxes, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Detector(FixedBackend(spec, *six_boxes), **options)


@pytest.mark.parametrize("intensity", [256.0, 1e6, 3e38, -1e6, np.nan, np.inf])
def test_the_shipped_model_sees_a_wild_intensity_as_the_nearest_it_knows_or_not_at_all(
    repository: Path, intensity: float
) -> None:
    detector = Detector(
        open_backend(repository / "models" / "pillar-toytown.onnx", num_threads=1), score_threshold=0.02
    )
    columns, limits = ("x", "y", "z", "intensity"), detector.spec.column_limits
    assert limits == {"intensity": (0.0, pytest.approx(255.0))}
    random = np.random.default_rng(0)
    cloud = random.uniform((-30, -30, -1.8, 0), (30, 30, 1, 255), (4000, 4)).astype(np.float32)

    def boxes_of(points: np.ndarray) -> np.ndarray:
        layout = encode_points({name: points[:, i] for i, name in enumerate(columns)})
        fields = [SimpleNamespace(name=n, offset=o, datatype=d, count=1) for n, o, d in layout.fields]
        message = SimpleNamespace(
            height=1, width=len(points), fields=fields, is_bigendian=False, point_step=layout.point_step,
            row_step=len(layout.data), data=layout.data,
        )  # fmt: skip
        found = read_points(message, columns, limits).points
        return detector.detect(np.hstack([found, np.zeros((len(found), 1), np.float32)])).boxes.values

    wild = cloud.copy()
    wild[77, 3] = intensity
    if np.isfinite(intensity):
        expected = cloud.copy()
        expected[77, 3] = np.clip(intensity, 0, 255)
    else:
        expected = np.delete(cloud, 77, axis=0)
    assert len(boxes_of(cloud)) > 0
    np.testing.assert_array_equal(boxes_of(wild), boxes_of(expected))


def test_with_a_real_backend(
    tmp_path: Path, network: Callable[..., bytes], six_boxes: SixBoxes, spec: ModelSpec
) -> None:
    write_model(tmp_path / "model.onnx", network(*six_boxes), spec)
    detector = Detector(open_backend(tmp_path / "model.onnx"))
    detector.warm_up()
    points = np.array([[1, 2, 0, 0, 0], [3, 2, 0, 0, 0], [99, 2, 0, 0, 0]], np.float32)
    found = detector.detect(points)
    np.testing.assert_allclose(found.boxes.centers[0], [2.2, 2, 0], rtol=1e-6)
    assert found.num_out_of_range == 1
