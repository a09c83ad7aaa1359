"""Paints on disk and the view that reads them."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.painting.score_model import PictureScores
from lidarloop_core.sample import CameraImage, Sample
from lidarloop_training.data.views.painted import PaintedSource
from lidarloop_training.data.writing.paints import (
    columns_of,
    is_painted,
    paint_drive,
    painted_classes,
    paints_key,
    read_paints,
)
from tests.training.conftest import BoxScenes
from tests.training.sources import MemorySource, assert_names_labels_and_poses_need_no_cloud

CLASSES = ("car", "bus")


class Everywhere:
    """Scores that grow with the column; counts the pictures it has looked at."""

    name = "made"

    def __init__(self, class_names: tuple[str, ...] = CLASSES) -> None:
        self.class_names = class_names
        self.num_pictures = 0

    def score(self, sample_token: str, images: Sequence[CameraImage]) -> list[PictureScores]:
        self.num_pictures += len(images)
        return [_Growing(image.width, image.height) for image in images]


@dataclasses.dataclass(frozen=True)
class _Growing:
    width: int
    height: int

    def at(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        share = np.clip(pixels[:, 0] / self.width, 0, 1)
        return np.stack([share, 1 - share], axis=1).astype(np.float32)


def with_camera(sample: Sample) -> Sample:
    forward = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
    intrinsics = np.array([[30.0, 0, 39.5], [0, 30.0, 29.5], [0, 0, 1]])
    picture = CameraImage(
        "front", lambda: np.zeros((60, 80, 3), np.uint8), intrinsics, 80, 60, 0, forward, SE3.identity()
    )
    return dataclasses.replace(sample, cameras=(picture,))


def drive(num_samples: int = 3) -> MemorySource:
    scenes = BoxScenes(num_samples=num_samples)
    return MemorySource([with_camera(scenes[i]) for i in range(num_samples)])


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    paint_drive(drive(), range(3), Everywhere(), tmp_path)
    return tmp_path


def test_sweeps_carry_the_paint_behind_their_own_columns(painted: Path) -> None:
    source = PaintedSource(drive(), painted)
    for i in range(len(source)):
        plain, found = drive()[i], source[i]
        assert len(found.sweeps) == 2
        for before, after in zip(plain.sweeps, found.sweeps, strict=True):
            assert after.columns == (*before.columns, "seen", "paint_car", "paint_bus")
            np.testing.assert_array_equal(after.points[:, :-3], before.points)
            seen = after.points[:, -3] == 1
            ahead = before.points[:, 0] >= 1.0
            assert seen.any()
            assert not (seen & ~ahead).any()
            np.testing.assert_allclose(after.points[seen, -2:].sum(axis=1), 1, atol=2 / 255)
            assert not after.points[~seen, -2:].any()


def test_paint_is_kept_to_half_a_step(painted: Path) -> None:
    from lidarloop_core.labelling.painting.paint import paint

    sample = drive()[0]
    exact = paint(sample.sweeps[1], sample.cameras, Everywhere().score("", sample.cameras), 2)
    np.testing.assert_allclose(read_paints(painted, "boxes", "scene-0").by_sweep[1], exact, atol=0.5 / 255 + 1e-6)


def test_names_labels_and_poses_need_no_paint(painted: Path) -> None:
    source = PaintedSource(drive(), painted)
    assert_names_labels_and_poses_need_no_cloud(source)
    assert [key.token for key in source.keys] == ["scene-0", "scene-1", "scene-2"]


def test_a_sample_is_painted_once_also_after_an_interruption(tmp_path: Path) -> None:
    model = Everywhere()

    def interrupt(index: int) -> None:
        if index == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint_drive(drive(), range(3), model, tmp_path, on_sample=interrupt)
    assert not is_painted(tmp_path, "boxes")
    finished = paint_drive(drive(), range(3), model, tmp_path)
    again = paint_drive(drive(), range(3), model, tmp_path)
    assert is_painted(tmp_path, "boxes")
    assert (finished.num_samples, again.num_samples) == (2, 0)
    assert model.num_pictures == 3
    assert again[1:] == finished[1:]
    assert 0 < finished.num_seen < finished.num_points


def test_a_drive_of_which_no_camera_sees_a_point_is_refused_and_stays_so(tmp_path: Path) -> None:
    blind = BoxScenes(num_samples=2)
    for _ in range(2):
        with pytest.raises(DatasetError, match="no camera sees any of the 1080 points of boxes"):
            paint_drive(blind, range(2), Everywhere(), tmp_path)
    assert not is_painted(tmp_path, "boxes")


def test_classes_are_those_of_the_model(painted: Path) -> None:
    assert painted_classes(painted) == CLASSES
    assert columns_of(painted) == ("seen", "paint_car", "paint_bus")


def test_paints_of_different_classes_are_refused(painted: Path) -> None:
    scenes = [dataclasses.replace(drive()[0], scene="other")]
    paint_drive(MemorySource(scenes), [0], Everywhere(("car", "tree")), painted)
    with pytest.raises(DatasetError, match="received paints of 2 lists of classes"):
        PaintedSource(drive(), painted)


def test_a_folder_without_paints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="received paints of 0 lists of classes"):
        PaintedSource(drive(), tmp_path)


def test_a_sample_that_was_not_painted_is_refused_by_name(painted: Path) -> None:
    with pytest.raises(DatasetError, match="expected the paint of sample scene-3 of boxes"):
        PaintedSource(drive(4), painted)[3]


def test_more_sweeps_than_were_painted_are_refused(tmp_path: Path) -> None:
    one = MemorySource([dataclasses.replace(s, sweeps=s.sweeps[:1]) for s in drive().samples])
    paint_drive(one, range(3), Everywhere(), tmp_path)
    with pytest.raises(DatasetError, match="painted with 1 sweeps, and not with its sweep 1 of 2"):
        PaintedSource(drive(), tmp_path)[0]
    assert len(PaintedSource(one, tmp_path)[0].sweeps) == 1


def test_another_cloud_is_refused(painted: Path) -> None:
    sample = drive()[0]
    fewer = dataclasses.replace(sample.keyframe, points=sample.keyframe.points[:-1])
    changed = MemorySource([dataclasses.replace(sample, sweeps=(fewer, *sample.sweeps[1:]))])
    with pytest.raises(DatasetError, match="the drive has changed, paint it again"):
        PaintedSource(changed, painted)[0]


def archive(header: object, rows: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        made.writestr("sweeps.json", json.dumps(header))
        made.writestr("paint.u8", rows)
    return data.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        archive([], b""),
        archive({"stamps_ns": [1], "num_points": [2], "num_columns": 3}, bytes(5)),
        archive({"stamps_ns": [1, 2], "num_points": [-1, 3], "num_columns": 3}, bytes(6)),
        archive({"stamps_ns": [1], "num_points": [], "num_columns": 3}, b""),
        archive({"stamps_ns": ["now"], "num_points": [2], "num_columns": 3}, bytes(6)),
    ],
)
def test_a_damaged_file_is_refused(painted: Path, content: bytes) -> None:
    (painted / "boxes" / "scene-1.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=r"scene-1\.zip: cannot be read"):
        PaintedSource(drive(), painted)[1]


def test_keys_are_equal_for_equal_descriptions_alone() -> None:
    assert paints_key(["a", {"x": 1, "y": 2}]) == paints_key(["a", {"y": 2, "x": 1}])
    assert paints_key(["a"]) != paints_key(["b"])
