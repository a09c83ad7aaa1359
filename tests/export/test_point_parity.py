"""Labels of two runs compared, and the command that compares a segmenter's files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels
from lidarloop_core.model.model_file import write_model
from lidarloop_core.model.spec import ModelSpec
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx

pytest.importorskip("onnx")
pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from lidarloop_export.drive import PointCloud, mean_iou, read_points
from lidarloop_export.limits import beyond
from lidarloop_export.parity_command import parity
from lidarloop_export.point_parity import POINT_LIMITS, point_deviations
from lidarloop_training.data.point_labels import UNLABELLED

CLASSES = ("car", "terrain", "manmade")
SPEC = dataclasses.replace(
    VOXEL_SEGMENTER, class_names=CLASSES, num_sweeps=1, grid=dataclasses.replace(VOXEL_SEGMENTER.grid, capacity=9000)
)


def answer(labels: list[int], scores: list[float]) -> PointLabels:
    return PointLabels({}, len(labels), 0, 0, 0, (), np.array(labels, np.uint8), np.array(scores, np.float32))


def test_labels_that_differ_count_where_the_reference_is_confident() -> None:
    reference = [answer([0, 1, 2], [0.9, 0.8, 0.4]), answer([NO_LABEL, 1], [0.0, 0.6])]
    found = [answer([0, 2, 1], [0.9, 0.7, 0.4]), answer([NO_LABEL, 1], [0.0, 0.6])]
    apart = point_deviations(reference, found, 0.8, 0.79)
    assert apart.num_points == 3
    assert apart.differing_percent == pytest.approx(100 / 3)
    assert apart.score_p50 == 0
    assert apart.score_p99 == pytest.approx(0.1, abs=0.004)
    assert apart.miou_drop == pytest.approx(1)
    assert [text.split()[0] for text in beyond(apart, POINT_LIMITS["fp16"])] == [
        "differing_percent", "score_p99", "miou_drop",
    ]  # fmt: skip
    assert beyond(point_deviations(reference, reference), POINT_LIMITS["fp32"]) == []


def test_miou_counts_points_without_a_label_as_wrong() -> None:
    cloud = PointCloud(np.zeros((4, 5), np.float32), np.array([0, 0, 1, UNLABELLED]))
    assert mean_iou([answer([0, NO_LABEL, 1, 2], [1, 0, 1, 1])], [cloud], CLASSES) == pytest.approx(0.75)
    assert mean_iou([answer([0], [1])], [PointCloud(np.zeros((1, 5)), None)], CLASSES) is None


def write(path: Path, spec: ModelSpec = SPEC, full_scale: float = 255.0) -> Path:
    write_model(path, by_intensity_onnx(spec, full_scale=full_scale), spec)
    return path


def test_a_model_agrees_with_itself_on_labelled_clouds(tmp_path: Path) -> None:
    pytest.importorskip("embreex")
    out = tmp_path / "parity.json"
    assert parity(write(tmp_path / "model.onnx"), drive=("toytown", "7"), frames=2, json=out) == 0
    document = json.loads(out.read_text())
    assert document["num_clouds"] == 2
    (row,) = document["rows"]
    assert row["deviations"]["differing_percent"] == 0
    assert 0 < row["deviations"]["miou_before"] == row["deviations"]["miou_after"] < 100
    assert set(document["limits"]) == {"fp32", "fp16"}


def test_a_variant_with_other_scores_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("embreex")
    model, other = write(tmp_path / "model.onnx"), write(tmp_path / "other.onnx", full_scale=200.0)
    assert parity(model, drive=("toytown", "7"), frames=1, variants=(other,)) == 1
    assert "no: score_p99" in " ".join(capsys.readouterr().out.split())


def test_clouds_come_with_the_classes_of_their_points_in_range() -> None:
    pytest.importorskip("embreex")
    spec = dataclasses.replace(SPEC, class_names=("driveable_surface", "car"))
    (cloud,) = read_points(("toytown", "7"), spec, 1)
    assert cloud.classes is not None
    assert len(cloud.classes) == len(cloud.points)
    road = cloud.points[cloud.classes == 0]
    assert len(road) > 1000
    assert np.abs(road[:, :2]).max() < 9.6, "out of range nothing is asked"
    assert np.median(road[:, 2]) == pytest.approx(-1.84, abs=0.1)
