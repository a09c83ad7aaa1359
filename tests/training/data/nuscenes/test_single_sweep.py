from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.geometry.camera import in_image, project
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource, read_infos
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud


def test_the_numbers_tell_the_format(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 30, (100, 5))
    points.astype(np.float32).tofile(tmp_path / "a.pcd.bin")
    points.astype(np.float16).tofile(tmp_path / "b.bin")
    source = NuScenesSweepSource(tmp_path)
    assert [source[i].keyframe.columns[4] for i in range(2)] == ["ring", "dt"]
    np.testing.assert_array_equal(source[1].keyframe.points, points.astype(np.float16).astype(np.float32))
    assert source[0].token == "a"
    assert source[0].annotations is None
    (tmp_path / "c.bin").write_bytes(b"\xff" * 40)
    with pytest.raises(DatasetError, match=r"c\.bin.*neither"):
        NuScenesSweepSource(tmp_path / "c.bin")[0]
    with pytest.raises(DatasetError, match=r"d\.bin"):
        NuScenesSweepSource(tmp_path / "d.bin")


class _Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("executed",)


def test_a_pickle_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "info.pkl"
    path.write_bytes(pickle.dumps({"metainfo": _Evil()}))
    with pytest.raises(DatasetError, match=r"info\.pkl.*builtins\.print"):
        read_infos(path)
    assert capsys.readouterr().out == ""


@pytest.mark.real
def test_real_keyframe_boxes_hold_their_points(real_data: Path) -> None:
    (sample,) = [NuScenesSweepSource(real_data / "nuscenes_keyframe")[0]]
    assert sample.token.startswith("ca9a282c")
    assert sample.keyframe.points.shape == (34688, 5)
    assert len(sample.annotations.boxes) == 68  # of 69; one is of none of the ten classes
    counted = points_in_boxes(sample.keyframe.points, sample.annotations.boxes.values).sum(axis=1)
    annotated = sample.annotations.num_lidar_pts
    agrees = np.abs(counted - annotated) <= np.maximum(1, 0.1 * annotated)
    assert agrees.mean() >= 0.97


@pytest.mark.real
def test_real_cameras_see_the_boxes(real_data: Path) -> None:
    (sample,) = [NuScenesSweepSource(real_data / "nuscenes_keyframe")[0]]
    assert len(sample.cameras) == 6
    seen = np.zeros(len(sample.annotations.boxes), np.int64)
    world_SE3_lidar = sample.keyframe.world_SE3_ego @ sample.keyframe.ego_SE3_lidar
    for image in sample.cameras:
        camera_SE3_lidar = (image.world_SE3_ego @ image.ego_SE3_camera).inverse() @ world_SE3_lidar
        centers = camera_SE3_lidar.transform(sample.annotations.boxes.centers.astype(np.float64))
        pixels, depth = project(centers, image.intrinsics)
        seen += in_image(pixels, depth, image.width, image.height, min_depth_m=0.5)
        # A camera moves a little between the exposures, never far: poses 20 ms apart.
        assert np.linalg.norm(image.world_SE3_ego.translation - sample.keyframe.world_SE3_ego.translation) < 1.0
    assert (seen > 0).mean() > 0.95  # six cameras look all around


@pytest.mark.real
def test_real_ten_sweep_cloud(real_data: Path) -> None:
    (sample,) = [NuScenesSweepSource(real_data / "nuscenes_10sweep")[0]]
    points = sample.keyframe.points
    assert points.shape == (271156, 5)
    assert sample.keyframe.columns[4] == "dt"
    assert points[:, 4].min() == 0
    assert 0.4 < points[:, 4].max() < 0.5


@pytest.mark.real
@pytest.mark.parametrize("folder", ["nuscenes_keyframe", "nuscenes_10sweep"])
def test_real_clouds_go_through_a_bag(real_data: Path, tmp_path: Path, folder: str) -> None:
    want = NuScenesSweepSource(real_data / folder)[0]
    (got,) = [BagSource(write_bag(NuScenesSweepSource(real_data / folder), tmp_path / "cloud.mcap"))[0]]
    assert got.keyframe.columns == want.keyframe.columns
    np.testing.assert_array_equal(got.keyframe.points, want.keyframe.points)
    assert [image.name for image in got.cameras] == sorted(image.name for image in want.cameras)
    if want.annotations is not None:
        np.testing.assert_array_equal(got.annotations.boxes.values, want.annotations.boxes.values)
        assert got.annotations.boxes.names == want.annotations.boxes.names


@pytest.mark.real
@pytest.mark.parametrize("folder", ["nuscenes_keyframe", "nuscenes_10sweep"])
def test_names_labels_and_poses_need_no_cloud(real_data: Path, folder: str) -> None:
    source = NuScenesSweepSource(real_data / folder)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.nuscenes.single_sweep.read_cloud")
