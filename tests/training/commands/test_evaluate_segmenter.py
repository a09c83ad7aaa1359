"""A segmenter's model file and a drive with labelled points → IoU."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core import cli
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.segmenter import Segmenter
from lidarloop_core.model.model_file import write_model
from lidarloop_core.sample import Sample
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from lidarloop_training.evaluation.segmenter import NOTHING, score_segmenter
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx, make_spec
from tests.training.sources import MadeSource, MemorySource
from tests.training.street import StreetSource

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CLASSES = ("car", "sidewalk", "terrain")
SPEC = dataclasses.replace(VOXEL_SEGMENTER, class_names=CLASSES, num_sweeps=1)
POINT_CLASSES = ("ignore", "terrain", "car", "sidewalk", "bus")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label = ⌊intensity / 100⌋."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    write_model(path, by_intensity_onnx(SPEC), SPEC)
    return path


@dataclasses.dataclass(frozen=True)
class LabelledStreet(MadeSource):
    """The street, its points in range with intensities of 0, 100 and 200 and labels that follow from them, mostly."""

    street: StreetSource

    def __len__(self) -> int:
        return len(self.street)

    def __getitem__(self, index: int) -> Sample:
        sample = self.street[index]
        sweep = sample.keyframe
        rng = np.random.default_rng(index)
        points = np.column_stack([sweep.points, np.zeros(len(sweep.points))]).astype(np.float32)
        points[:, :3] = rng.uniform((-9, -6, -4), (9, 6, 2.9), (len(points), 3))
        answer = rng.integers(0, 3, len(points))
        points[:, 3] = 100 * answer
        points[:, 5] = np.array([2, 3, 1])[answer]  # car, sidewalk, terrain
        points[0::10, 5] = 1  # terrain, whatever the model says
        points[1::10, 5] = 0
        points[2::10, 5] = 4
        points[3::10, 0] += 50
        labelled = dataclasses.replace(sweep, points=points, columns=(*sweep.columns, "label"))
        return dataclasses.replace(sample, sweeps=(labelled,), point_classes=POINT_CLASSES)


def expected_iou(source: LabelledStreet, indices: range) -> dict[str, float]:
    rows = np.concatenate([source[i].keyframe.points for i in indices])
    counts = (rows[:, 0] < 9.6) & np.isin(rows[:, 5], [1, 2, 3])
    truth = np.array([0, 2, 0, 1])[rows[counts, 5].astype(int)]
    answer = (rows[counts, 3] / 100).astype(int)
    return {
        name: ((truth == c) & (answer == c)).sum() / ((truth == c) | (answer == c)).sum()
        for c, name in enumerate(CLASSES)
    }


def test_iou_of_a_drive_is_written_and_printed(
    model: Path, street: StreetSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = LabelledStreet(street)
    tables = write_nuscenes(source, tmp_path / "tables", keyframe_every=5, cameras=False)
    assert cli.main(["evaluate", str(model), str(tables), "--out", str(tmp_path / "out")]) == 0
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    expected = expected_iou(source, range(0, 13, 5))
    assert {name: found["iou"] for name, found in document["classes"].items()} == pytest.approx(expected)
    assert document["mIoU"] == pytest.approx(np.mean(list(expected.values())))
    assert 0.7 < document["mIoU"] < 0.95
    assert document["num_samples"] == 3
    assert document["num_points"] == sum(found["num_points"] for found in document["classes"].values()) == 3 * 280
    assert len(document["model_sha256"]) == 64
    assert "mean of those that occur" in capsys.readouterr().out


def test_points_without_an_answer_count_against_their_class(model: Path, street: StreetSource, tmp_path: Path) -> None:
    spec = make_spec(SPEC, capacity=50)
    write_model(tmp_path / "small.onnx", by_intensity_onnx(spec), spec)
    sample = LabelledStreet(street)[0]
    full = score_segmenter(Segmenter(open_backend(model)), [sample])
    thinned = score_segmenter(Segmenter(open_backend(tmp_path / "small.onnx")), [sample])
    assert thinned.confusion.sum() == full.confusion.sum()
    assert thinned.confusion[:, -1].sum() > 0
    assert full.confusion[:, -1].sum() == 0
    assert thinned.mean_iou_present < full.mean_iou_present
    assert thinned.class_names == (*CLASSES, NOTHING)


def test_a_drive_without_labels_of_points_is_refused(
    model: Path, street: StreetSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = write_nuscenes(street, tmp_path / "tables", keyframe_every=5, cameras=False)
    assert cli.main(["evaluate", str(model), str(tables), "--out", str(tmp_path / "out")]) == 1
    assert "lidarseg.json: cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--pictures", "3"], ["--class-agnostic"], ["--latency", "latency.json"]])
def test_options_of_detections_are_refused(
    model: Path, option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(model), "7", "--source", "toytown", "--out", str(tmp_path / "out"), *option]) != 0
    assert "a segmenter is scored by the IoU of its points" in capsys.readouterr().err


def test_samples_are_scored_together() -> None:
    assert np.isnan(score_segmenter(Segmenter(_Never()), MemorySource([])).mean_iou_present)


class _Never:
    """A backend that is not asked."""

    spec, model_sha256, device = SPEC, "", "nowhere"

    def infer(self, inputs: object) -> dict[str, np.ndarray]:
        raise AssertionError
