from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE, LabelledFrame, read_drive, write_drive
from lidarloop_training.evaluation.field_metrics import FieldTable
from lidarloop_training.pseudolabel.frames import frame_document, read_frame
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.report import read_run, report_tables, score_labels, write_report

META: dict[str, Any] = {"provenance": {"class_names": ["car", "bus"]}, "run": "r"}


@pytest.fixture(scope="module")
def frames(job: LabelJob) -> list[LabelledFrame]:
    """The truth as labels: those of the objects that the LiDAR met."""
    drive = job.open_drive()
    labelled = []
    for index in range(len(drive)):
        sample = drive[index]
        assert sample.annotations is not None
        boxes = sample.annotations.boxes[sample.annotations.num_lidar_pts > 0]
        n = len(boxes)
        quality = np.linspace(0, 1, n, dtype=np.float32)
        points, cameras = np.arange(n), (("CAM_FRONT",), ()) * n
        labels = PseudoLabels(boxes, quality, points, cameras[:n], ("lane", "track") * (n // 2) + ("none",) * (n % 2))
        left_out = LeftOut(masks=Counter({"no points in the mask": 2}))
        labelled.append(LabelledFrame.of(index, sample, labels, left_out))
    return labelled


def table(tables: list[FieldTable], metric: str) -> dict[str, dict[str, Any]]:
    (found,) = [t for t in tables if t.metric == metric]
    return {str(row[0]): dict(zip(found.columns, row, strict=True)) for row in found.rows}


def test_the_truth_gets_full_marks(job: LabelJob, frames: list[LabelledFrame], tmp_path: Path) -> None:
    labelled = read_run(job, [write_drive(tmp_path / "d", frames, META)])

    score = score_labels(labelled, resample=False)

    assert score is not None
    assert score.metrics.mean_ap == pytest.approx(1.0)
    assert max(score.metrics.errors[key] for key in ("ATE", "ASE", "AOE", "AVE")) < 1e-3
    tables = report_tables(job, labelled, score)
    classes = table(tables, "labels")
    assert set(classes) == {c.name for c in score.metrics.present}
    for name, row in classes.items():
        assert (row["precision"], row["recall"]) == (1.0, 1.0), name
    signatures = table(tables, "diagnostics")
    assert signatures["classes asked for and never found"]["verdict"] == "fine"
    assert signatures["centres biased along the line of sight"]["value"] == pytest.approx(0.0, abs=1e-3)
    assert table(tables, "left_out")["masks"]["number"] == 2 * len(frames)
    quality = table(tables, "quality")
    assert sum(row["labels"] for row in quality.values()) == len(score.matching.detections)
    assert quality["lowest quarter"]["to"] <= quality["highest quarter"]["from"]


def test_inventions_lower_precision_alone(job: LabelJob, frames: list[LabelledFrame], tmp_path: Path) -> None:
    """Every car twice: half of them find nothing that is still free, and none is missed."""

    def doubled(frame: LabelledFrame) -> LabelledFrame:
        labels = frame.labels
        cars = labels[np.array([name == "car" for name in labels.boxes.names])]
        return dataclasses.replace(frame, labels=_joined(labels, cars))

    labelled = read_run(job, [write_drive(tmp_path / "d", [doubled(f) for f in frames], META)])

    score = score_labels(labelled, resample=False)

    row = table(report_tables(job, labelled, score), "labels")["car"]
    assert (row["precision"], row["recall"]) == (0.5, 1.0)


def test_page_and_numbers_are_written_also_without_ground_truth(
    job: LabelJob, frames: list[LabelledFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lidarloop_training.toytown.drive import ToyTownDrive

    labels = write_drive(tmp_path / "d", frames, META)
    for name in ("annotations", "_seen_annotations"):
        monkeypatch.setattr(ToyTownDrive, name, lambda drive, index: None)

    page = write_report(job, [labels], tmp_path)

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mAP"] is None
    assert "labels" not in metrics
    assert len(metrics["diagnostics"]) == 3
    assert "Failure signatures" in page.read_text()
    text = page.read_text()
    assert "Pseudo-labels of toytown-3000" in text
    assert "labels, those with score ≥ 1<" in text  # the truth's scores are 1
    assert "detections with score" not in text


def test_the_model_of_the_labels_is_the_models_row(job: LabelJob, frames: list[LabelledFrame], tmp_path: Path) -> None:
    meta = {**META, "provenance": {**META["provenance"], "model": "onnx a x b"}}
    text = write_report(job, [write_drive(tmp_path / "d", frames, meta)], tmp_path).read_text()
    assert "onnx a x b" in text
    assert "not recorded" not in text


def test_a_frame_survives_its_document_to_the_bit(frames: list[LabelledFrame]) -> None:
    frame = frames[1]

    document = json.loads(json.dumps(frame_document(frame)))

    again = read_frame(document, frame.labels.boxes.class_names)
    np.testing.assert_array_equal(again.labels.boxes.values, frame.labels.boxes.values)
    np.testing.assert_array_equal(again.labels.quality, frame.labels.quality)
    assert again.world_SE3_lidar is not None
    assert frame.world_SE3_lidar is not None
    np.testing.assert_array_equal(again.world_SE3_lidar.matrix, frame.world_SE3_lidar.matrix)
    assert (again.index, again.token, again.stamp_ns) == (frame.index, frame.token, frame.stamp_ns)
    assert (again.labels.cameras, again.labels.yaw_sources) == (frame.labels.cameras, frame.labels.yaw_sources)
    assert again.left_out == frame.left_out


def test_without_ego_motion_labels_stay_in_the_lidar_frame(frames: list[LabelledFrame], tmp_path: Path) -> None:
    still = [dataclasses.replace(frame, world_SE3_lidar=None) for frame in frames]

    drive = read_drive(write_drive(tmp_path / "d", still, META))

    assert drive.meta["frame"] == "lidar"
    for frame in still:
        np.testing.assert_array_equal(drive.labels[frame.token].boxes.centers, frame.labels.boxes.centers)
    assert drive.left_out.masks["no points in the mask"] == 2 * len(frames)


@pytest.mark.parametrize("damage", [lambda t: "{", lambda t: t.replace('"quality":[', '"quality":[0.5,'), None])
def test_evidence_that_does_not_fit_is_an_error_that_names_it(
    frames: list[LabelledFrame], tmp_path: Path, damage: object
) -> None:
    labels = write_drive(tmp_path / "d", frames, META)
    evidence = labels.with_name(EVIDENCE)
    if damage is None:
        evidence.unlink()
    else:
        evidence.write_text(damage(evidence.read_text()))

    with pytest.raises(DatasetError, match=EVIDENCE):
        read_drive(labels)


def _joined(first: PseudoLabels, second: PseudoLabels) -> PseudoLabels:
    from lidarloop_core.geometry.boxes import concatenate

    return PseudoLabels(
        concatenate([first.boxes, second.boxes]),
        np.concatenate([first.quality, second.quality]),
        np.concatenate([first.num_points, second.num_points]),
        first.cameras + second.cameras,
        first.yaw_sources + second.yaw_sources,
    )
