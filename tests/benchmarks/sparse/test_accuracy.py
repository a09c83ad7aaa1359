"""The accuracy study: what is found is kept and read back, and rows follow from the stored numbers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from benchmarks.sparse import accuracy
from benchmarks.sparse.accuracy import Study
from benchmarks.sparse.shipped import PILLARS
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.model.model_file import read_model, write_model
from lidarloop_training.stages.infer import SampleDetector
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx, make_spec


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Four frames of each of two drives."""
    return Study((8101, 8102), 0.4, tmp_path)


def test_what_is_found_is_kept_and_read_back(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    found = accuracy.detections_of(study, PILLARS)
    drive = study.drive(8101, 3)
    expected = SampleDetector(open_backend(PILLARS), score_threshold=accuracy.SCORE_THRESHOLD)(drive[3])
    assert len(found) == 8
    assert len(expected) > 5
    monkeypatch.setattr(accuracy, "open_backend", lambda _: pytest.fail("found anew"))
    for boxes in (found, accuracy.detections_of(study, PILLARS)):
        same = boxes[drive[3].token]
        np.testing.assert_array_equal(same.values, expected.values)
        np.testing.assert_array_equal(same.scores, expected.scores)
        assert same.names == expected.names


def test_rows_follow_from_the_stored_numbers(study: Study) -> None:
    (score,) = accuracy.score_detectors(study, [PILLARS]).values()
    stored = accuracy.detector_document(PILLARS, score)
    document = {"seeds": list(study.seeds), "detectors": {PILLARS.stem: stored}}
    rows = {row.what.strip(): row for row in accuracy._detector_rows(document)}
    (name,) = (name for name in rows if name.startswith("pillar-toytown, 2 drives: mAP"))
    assert rows[name].value == pytest.approx(score.metrics.mean_ap)
    assert rows["mean AVE, m/s"].value == pytest.approx(score.metrics.errors["AVE"])
    assert len(rows) == 2 + len(score.metrics.present)


def difference(value: float) -> dict[str, Any]:
    return {"mAP": {"value": value, "low": value - 0.01, "high": value + 0.01, "p_value": 0.01}}


@pytest.mark.parametrize(("gain", "holds"), [(0.02, True), (0.019, False), (-0.1, False)])
def test_two_points_of_map_are_asked_of_voxels(gain: float, holds: bool) -> None:
    document = {"seeds": [1], "detectors": {}, "voxels_less_pillars": difference(gain)}
    (row,) = accuracy._detector_rows(document)
    assert (row.value, row.holds) == (gain, holds)


def test_scores_of_another_model_file_do_not_count() -> None:
    sha256 = read_model(PILLARS).sha256
    document: dict[str, Any] = {"detectors": {PILLARS.stem: {"sha256": sha256}}}
    other = copy.deepcopy(document)
    other["detectors"][PILLARS.stem]["sha256"] = "0" * 64
    first, second = (next(iter(accuracy._stored_models(each))) for each in (document, other))
    assert (first.holds, second.holds) == (True, False)


def test_a_segmenter_is_scored_over_the_classes_present(study: Study, tmp_path: Path) -> None:
    """By a model whose labels are ⌊intensity / 100⌋: road for most points, right for few."""
    names = ("driveable_surface", "manmade", "vegetation")
    spec = make_spec(VOXEL_SEGMENTER, class_names=names, num_sweeps=1, point_columns=("x", "y", "z", "intensity"))
    write_model(tmp_path / "segmenter.onnx", by_intensity_onnx(spec), spec)
    score = accuracy.segmenter_document(study, tmp_path / "segmenter.onnx")
    confusion = np.array(score["confusion"])
    assert confusion.shape == (4, 4)
    assert confusion.sum() == score["num_points"] > 1000
    *_, last = accuracy._segmenter_rows({"segmenter": score})
    present = [c["iou"] for c in score["classes"].values() if c["num_points"]]
    assert last.value == pytest.approx(np.mean(present))
    assert last.value == pytest.approx(score["mIoU"])
    assert not last.holds
