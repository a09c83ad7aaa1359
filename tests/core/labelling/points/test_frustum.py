"""What a camera sees of a cloud."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.labelling.points.frustum import view, why_unfit, without_hidden
from lidarloop_core.sample import CameraImage, Sweep
from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource, read_infos

OPTICAL = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
"""Looks along the vehicle's x axis."""

INTRINSICS = np.array([[100.0, 0.0, 50.0], [0.0, 100.0, 40.0], [0.0, 0.0, 1.0]])
KEYFRAME = Sweep(np.zeros((0, 3), np.float32), ("x", "y", "z"), 0, SE3.identity(), None)
MASKS = InstanceMasks.empty(("car",), 101, 81)


def picture() -> np.ndarray:
    return np.zeros((81, 101, 3), np.uint8)


CAMERA = CameraImage("FRONT", picture, INTRINSICS, 101, 81, 0, OPTICAL, None)


def test_closed_form() -> None:
    points = np.array([[10, 0, 0], [10, 1, 0], [10, 0, 1], [2, 0, 0], [-10, 0, 0], [10, 6, 0]], np.float32)
    seen = view(points, CAMERA, KEYFRAME, 2.3)
    np.testing.assert_array_equal(seen.index, [0, 1, 2])  # the others are near, behind, beside
    np.testing.assert_allclose(seen.pixels, [[50, 40], [40, 40], [50, 30]], atol=1e-4)
    np.testing.assert_allclose(seen.depth_m, 10)


def test_points_are_looked_up_at_whole_pixels() -> None:
    mask = MaskWindow(50, 40, np.ones((1, 1), np.bool_))
    depth_m = 10.0
    offsets_px = np.array([-0.51, -0.49, 0.49, 0.51])
    points = np.column_stack([np.full(4, depth_m), -offsets_px / 100 * depth_m, np.zeros(4)]).astype(np.float32)
    np.testing.assert_array_equal(view(points, CAMERA, KEYFRAME, 1.0).inside(mask), [1, 2])


def test_the_picture_is_taken_where_the_vehicle_is_at_the_exposure() -> None:
    """It drives 2 m and turns between the sweep and the exposure."""
    keyframe = replace(KEYFRAME, world_SE3_ego=SE3.from_yaw(0.5, (100.0, 20.0, 0.0)))
    moved = SE3.from_yaw(0.1, (2.0, 0.0, 0.0))
    camera = replace(CAMERA, world_SE3_ego=keyframe.world_SE3_ego @ moved)
    points = np.random.default_rng(0).uniform((15, -5, -5), (25, 5, 5), (50, 3))
    from_there = view(moved.inverse().transform(points).astype(np.float32), CAMERA, KEYFRAME, 2.3)
    seen = view(points.astype(np.float32), camera, keyframe, 2.3)
    np.testing.assert_array_equal(seen.index, from_there.index)
    np.testing.assert_allclose(seen.pixels, from_there.pixels, atol=1e-2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"intrinsics": np.zeros((3, 3))}, "zero or broken intrinsics"),
        ({"intrinsics": np.full((3, 3), np.nan)}, "zero or broken intrinsics"),
        ({"intrinsics": np.diag([-100.0, 100.0, 1.0])}, "zero or broken intrinsics"),
        ({"intrinsics": None}, "no calibration"),
        ({"intrinsics": np.eye(4)}, "no calibration"),
        ({"ego_SE3_camera": None}, "no calibration"),
        ({"width": 202, "height": 162}, "picture size differs from that of the masks"),
        ({"intrinsics": INTRINSICS * [[4.0], [4.0], [1.0]]}, "intrinsics of another picture size"),
        ({"world_SE3_ego": SE3.identity()}, "no ego pose at the exposure"),
        ({}, None),
    ],
)
def test_unfit_cameras_are_told(change: dict[str, Any], reason: str | None) -> None:
    assert why_unfit(replace(CAMERA, **change), MASKS, KEYFRAME) == reason


def test_a_camera_whose_pose_is_lost_is_unfit_and_one_without_masks_too() -> None:
    keyframe = replace(KEYFRAME, world_SE3_ego=SE3.identity())
    assert why_unfit(CAMERA, MASKS, keyframe) == "no ego pose at the exposure"
    assert why_unfit(CAMERA, None, KEYFRAME) == "no answer from the 2D model"


def wall(depth_m: float, half_width_m: float) -> np.ndarray:
    """Points 0.05 m apart on a plane across the optical axis."""
    across, up = np.meshgrid(np.arange(-half_width_m, half_width_m, 0.05), np.arange(-half_width_m, half_width_m, 0.05))
    return np.column_stack([np.full(across.size, depth_m), across.ravel(), up.ravel()]).astype(np.float32)


def test_what_stands_behind_something_is_hidden() -> None:
    points = np.concatenate([wall(10.0, 1.0), wall(20.0, 4.0)])
    seen = view(points, CAMERA, KEYFRAME, 2.3)
    left = without_hidden(seen, np.ones(len(points), np.bool_))
    kept = points[left.index]
    assert (kept[:, 0] == 10).sum() == 40 * 40
    behind = kept[kept[:, 0] == 20]
    # The near wall covers ±2 m of the far one; cells reach a little over its edge.
    assert (np.abs(behind[:, 1:]).max(axis=1) >= 1.95).all()
    beside = points[(points[:, 0] == 20) & (np.abs(points[:, 1:]).max(axis=1) > 2.3)]
    assert len(behind) >= len(beside)


def test_points_a_little_deeper_are_the_same_object() -> None:
    points = np.concatenate([wall(10.0, 1.0), wall(11.0, 1.0)])
    seen = view(points, CAMERA, KEYFRAME, 2.3)
    assert len(without_hidden(seen, np.ones(len(points), np.bool_)).index) == len(points)


def test_some_points_hide_nothing() -> None:
    points = np.concatenate([wall(10.0, 1.0), wall(20.0, 1.0)])
    seen = view(points, CAMERA, KEYFRAME, 2.3)
    assert len(without_hidden(seen, points[:, 0] != 10).index) == len(points)


def test_of_an_empty_cloud_nothing_is_seen() -> None:
    seen = view(np.zeros((0, 3), np.float32), CAMERA, KEYFRAME, 2.3)
    assert len(without_hidden(seen, np.zeros(0, np.bool_)).index) == 0


def test_real_points_fall_on_the_pixels_that_nuscenes_own_numbers_give(real_data: Path) -> None:
    """Against ``lidar2img`` as its tools stored it beside the keyframe."""
    folder = real_data / "nuscenes_keyframe"
    sample = NuScenesSweepSource(folder)[0]
    (info,) = read_infos(next(folder.glob("*.pkl"))).values()
    points = sample.keyframe.points[:, :3]
    homogeneous = np.column_stack([points, np.ones(len(points))])
    for camera in sample.cameras:
        image = info["images"][camera.name]
        in_camera = homogeneous @ np.array(image["lidar2cam"]).T
        scaled = in_camera[:, :3] @ np.array(image["cam2img"])[:3, :3].T
        seen = view(points, camera, sample.keyframe, 2.3)
        assert len(seen.index) > 1000
        np.testing.assert_allclose(seen.pixels, (scaled[:, :2] / scaled[:, 2:])[seen.index], atol=0.05)
        np.testing.assert_allclose(seen.depth_m, scaled[seen.index, 2], atol=1e-3)
