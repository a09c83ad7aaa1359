"""The ONCE reader against a sequence that ``once_fixture`` writes apart from it, by the official devkit's layout."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.cli import main
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import wrap_angle
from lidarloop_core.geometry.camera import project
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.once.reader import LIDAR_COLUMNS, LIDAR_HEIGHT_M, OnceSource
from tests.training.data.once import fixture as written
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written.write_sequence(tmp_path)


def _change(folder: Path, change: Callable[..., Any]) -> None:
    path = folder / f"{folder.name}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_points_keep_their_values_with_x_ahead(folder: Path) -> None:
    source = OnceSource(folder.parent.parent)
    assert len(source) == 3
    for i in range(3):
        sweep, stored = source[i].keyframe, written.points(i)
        assert sweep.columns == LIDAR_COLUMNS
        np.testing.assert_array_equal(sweep.points[:, 0], -stored[:, 1])  # ahead
        np.testing.assert_array_equal(sweep.points[:, 1], stored[:, 0])  # left
        np.testing.assert_array_equal(sweep.points[:, 2], stored[:, 2])
        np.testing.assert_allclose(sweep.points[:, 3], 255 * stored[:, 3], rtol=1e-6)
        assert sweep.stamp_ns == int(written.FRAMES[i]) * 1_000_000


def test_boxes_lie_and_head_as_the_objects_do(folder: Path) -> None:
    source = OnceSource(folder)
    assert [source[i].annotations is None for i in range(3)] == [False, True, False]
    annotations = source[0].annotations
    assert annotations.boxes.names == ["car", "bus", "truck", "pedestrian", "bicycle"]
    for got, (_, ahead, left, up, *size, heading) in zip(annotations.boxes.values, written.OBJECTS, strict=True):
        np.testing.assert_allclose(got[:6], [ahead, left, up, *size], rtol=1e-6)
        assert abs(wrap_angle(np.float64(got[6]) - heading)) < 1e-6
        assert np.isnan(got[7:]).all()
    # The three points along each object's length lie in its box; they would not in a box turned by 90°.
    assert annotations.num_lidar_pts.tolist() == [3, 3, 3, 3, 3]
    assert len(set(annotations.instance_ids)) == 5


def test_poses_move_the_ego_ahead_and_to_the_left(folder: Path) -> None:
    _change(folder, lambda content: content["frames"][1].update(pose=[0] * 7))
    source = OnceSource(folder, cameras=False)
    first, unknown, third = (source[i].keyframe.world_SE3_ego for i in range(3))
    assert unknown is None
    np.testing.assert_allclose(first.matrix, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(third.translation, [written.DRIVEN_M[2], 1.0, 0.0], atol=1e-9)
    assert math.isclose(third.yaw_rad, written.TURNED_RAD[2], abs_tol=1e-9)
    assert source[0].keyframe.ego_SE3_lidar.translation.tolist() == [0.0, 0.0, LIDAR_HEIGHT_M]


def test_earlier_sweeps(folder: Path) -> None:
    source = OnceSource(folder, num_sweeps=2)
    assert [len(source[i].sweeps) for i in range(3)] == [1, 2, 2]
    np.testing.assert_array_equal(source[2].sweeps[1].points, source[1].keyframe.points)


def test_landmarks_appear_where_the_rectified_cameras_see_them(folder: Path) -> None:
    sample = OnceSource(folder)[1]
    assert [image.name for image in sample.cameras] == ["CAM_TOP", "CAM_LEFT_FRONT"]
    for camera, image in zip(written.CAMERAS, sample.cameras, strict=True):
        assert (image.width, image.height) == written.SIZE
        lidar_points = np.array(written.LANDMARKS[camera])
        camera_SE3_lidar = image.ego_SE3_camera.inverse() @ sample.keyframe.ego_SE3_lidar
        pixels, _ = project(camera_SE3_lidar.transform(lidar_points), image.intrinsics)
        grey = image.load().mean(axis=2)
        y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
        for landmark, (u, v) in zip(written.LANDMARKS[camera], pixels, strict=True):
            np.testing.assert_allclose((u, v), written.seen_at(camera, landmark, through_lens=False), atol=1e-6)
            near = np.maximum(grey - 30, 0) * (np.hypot(x - u, y - v) < 10)
            center = np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
            np.testing.assert_allclose(center, (u, v), atol=0.3)
    landmark = written.LANDMARKS["cam01"][0]
    moved = [written.seen_at("cam01", landmark, through_lens=lens) for lens in (True, False)]
    assert math.dist(*moved) > 2  # so that a picture left as it was would not pass


def test_an_empty_but_labelled_frame_has_no_boxes(folder: Path) -> None:
    _change(folder, lambda content: content["frames"][0].update(annos={"names": [], "boxes_3d": [], "boxes_2d": {}}))
    assert len(OnceSource(folder)[0].annotations.boxes) == 0


def test_missing_cameras_are_left_out_and_missing_pictures_are_named(folder: Path) -> None:
    (folder / "cam06").rename(folder / "elsewhere")
    source = OnceSource(folder)
    assert [image.name for image in source[0].cameras] == ["CAM_TOP"]
    assert OnceSource(folder, cameras=False)[0].cameras == ()
    (folder / "cam01" / f"{written.FRAMES[2]}.jpg").unlink()
    with pytest.raises(DatasetError, match=rf"cam01/{written.FRAMES[2]}\.jpg"):
        source[2]


def test_damaged_clouds_are_named(folder: Path) -> None:
    source = pickle.loads(pickle.dumps(OnceSource(folder)))
    path = folder / "lidar_roof" / f"{written.FRAMES[1]}.bin"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DatasetError, match=rf"{path}.*multiple of 16"):
        source[1]
    path.unlink()
    with pytest.raises(DatasetError, match=str(path)):
        source[1]
    with pytest.raises(IndexError):
        source[3]


def _with(**changes: Any) -> Callable[..., Any]:
    return lambda content: content["frames"][0].update(**changes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.pop("frames"), "frames"),
        (_with(frame_id="first"), "first"),
        (_with(frame_id=1e308), "1e.308"),
        (_with(pose=[0, 0, 0, 1]), "frame 1616343527200.*4 numbers"),
        (_with(annos={"names": ["Car"], "boxes_3d": []}), "1 names and 0 boxes"),
        (_with(annos={"names": ["Tram"], "boxes_3d": [[0] * 7]}), "Tram"),
        (_with(annos={"names": ["Car"], "boxes_3d": [[0] * 6]}), "frame 1616343527200"),
        (lambda c: c["calib"].pop("cam01"), "cam01"),
        (lambda c: c["calib"]["cam01"].update(cam_intrinsic=[[1, 0], [0, 1]]), "cam_intrinsic"),
        (lambda c: c["calib"]["cam01"].update(distortion=[0.1] * 3), "cam01.*coefficients"),
        (lambda c: c["calib"]["cam01"].update(cam_to_velo=np.zeros((4, 4)).tolist()), "cam01"),
    ],
)
def test_a_damaged_sequence_file_is_named(folder: Path, change: Callable[..., Any], expected: str) -> None:
    _change(folder, change)
    with pytest.raises(DatasetError, match=expected) as error:
        OnceSource(folder)
    assert f"{written.SEQUENCE}.json" in str(error.value)


def test_mistakes_in_the_arguments(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="lidar_roof: holds no"):
        OnceSource(folder / "lidar_roof")
    with pytest.raises(DatasetError, match="000001"):
        OnceSource(folder.parent, sequences=["000001"])
    (folder / f"{written.SEQUENCE}.json").write_text("{")
    with pytest.raises(DatasetError, match=r"000076\.json"):
        OnceSource(folder)


def test_through_a_bag(folder: Path, tmp_path: Path) -> None:
    source = OnceSource(folder)
    bag = BagSource(write_bag(source, tmp_path / "drive.mcap"))
    assert len(bag) == 3
    for i in range(3):
        got, want = bag[i], source[i]
        np.testing.assert_array_equal(got.keyframe.points, want.keyframe.points)
        np.testing.assert_allclose(got.keyframe.world_SE3_ego.matrix, want.keyframe.world_SE3_ego.matrix, atol=1e-9)
        assert (got.annotations is None) == (want.annotations is None)
    np.testing.assert_array_equal(bag[0].annotations.boxes.values, source[0].annotations.boxes.values)


def test_converted_by_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "once", str(folder), str(tmp_path / "drive.mcap")]) == 0
    assert len(BagSource(tmp_path / "drive.mcap")) == 3
    shutil.copytree(folder, folder.with_name("000077"))
    (folder.parent / "000077" / "000076.json").rename(folder.parent / "000077" / "000077.json")
    assert len(OnceSource(folder.parent.parent)) == 6
    assert main(["convert", "once", str(folder.parent.parent), str(tmp_path / "two.mcap")]) == 1
    assert "2 drives" in capsys.readouterr().err


def test_names_labels_and_poses_need_no_cloud(folder: Path) -> None:
    source = OnceSource(folder, cameras=False)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.once.reader.read_unit_intensities")
    labelled = [source.annotations(i) for i in range(len(source)) if source.annotations(i) is not None]
    assert labelled
    assert all((annotations.num_lidar_pts == -1).all() for annotations in labelled)
