"""Boxes land in the picture where the objects are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.overlay import Layer, draw_overlay, wireframes
from lidarloop_core.sample import CameraImage, Sweep, camera_SE3_lidar

EGO_SE3_CAMERA = SE3(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))  # looks ahead from the LiDAR's place


def camera(world_SE3_ego: SE3 | None = None) -> CameraImage:
    intrinsics = np.array([[100.0, 0, 99.5], [0, 100, 49.5], [0, 0, 1]])
    black = np.zeros((100, 200, 3), np.uint8)
    return CameraImage("CAM", lambda: black, intrinsics, 200, 100, 0, EGO_SE3_CAMERA, world_SE3_ego)


def keyframe(world_SE3_ego: SE3 | None = None) -> Sweep:
    return Sweep(np.zeros((0, 3), np.float32), ("x", "y", "z"), 0, SE3.identity(), world_SE3_ego)


def boxes(*rows: list[float]) -> Boxes3D:
    return Boxes3D(np.array(rows).reshape(-1, 9), np.ones(len(rows)), np.zeros(len(rows)), ("car",))


def test_a_box_ahead_by_hand() -> None:
    # A cube of 2 m, its rear face 9 m and its front face 11 m ahead.
    (frame,) = wireframes(camera(), keyframe(), boxes([10, 0, 0, 2, 2, 2, 0, 0, 0]))
    assert len(frame.edges) == 12
    assert frame.is_front.sum() == 4
    assert frame.depth_m == pytest.approx(10)
    rear = frame.edges[~frame.is_front].reshape(-1, 2) - [99.5, 49.5]
    np.testing.assert_allclose([rear.min(axis=0), rear.max(axis=0)], [[-100 / 9] * 2, [100 / 9] * 2])
    front = frame.edges[frame.is_front].reshape(-1, 2)
    np.testing.assert_allclose(np.abs(front - [99.5, 49.5]), 100 / 11)
    # The heading runs along the floor from the middle to the front edge.
    np.testing.assert_allclose(frame.heading[0], [[99.5, 49.5 + 10], [99.5, 49.5 + 100 / 11]])


def test_what_the_camera_cannot_see_is_left_out() -> None:
    behind, beside = [-10, 0, 0, 2, 2, 2, 0, 0, 0], [10, 40, 0, 2, 2, 2, 0, 0, 0]
    assert wireframes(camera(), keyframe(), boxes(behind, beside)) == []
    assert wireframes(camera(), keyframe(), boxes()) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-20, 20), min_size=3, max_size=3),
    st.lists(st.floats(0.2, 15), min_size=3, max_size=3),
    st.floats(-4, 4),
)
def test_strokes_stay_in_the_picture(center: list[float], size: list[float], yaw: float) -> None:
    for frame in wireframes(camera(), keyframe(), boxes([*center, *size, yaw, 0, 0])):
        strokes = np.concatenate([frame.edges, frame.heading]).reshape(-1, 2)
        assert np.isfinite(strokes).all()
        assert (strokes >= -0.5 - 1e-6).all()
        assert (strokes <= np.array([199.5, 99.5]) + 1e-6).all()


def test_the_vehicle_moves_between_the_exposures() -> None:
    moved = camera_SE3_lidar(camera(SE3.from_yaw(0.0, (2.0, 0, 0))), keyframe(SE3.identity()))
    np.testing.assert_allclose(moved.transform(np.array([[10.0, 0, 0]])), [[0, 0, 8]], atol=1e-12)
    unknown = camera_SE3_lidar(camera(), keyframe(SE3.identity()))
    np.testing.assert_allclose(unknown.transform(np.array([[10.0, 0, 0]])), [[0, 0, 10]], atol=1e-12)


def test_drawn_pixels() -> None:
    layer = Layer("ground_truth", boxes([10, 0, 0, 2, 2, 2, 0, 0, 0]), ("#ff0000",))
    picture = np.asarray(draw_overlay(camera(), keyframe(), [layer], width_px=400))
    assert picture.shape == (200, 400, 3)
    red = np.argwhere((picture == ImageColor.getrgb("#ff0000")).all(axis=2))
    # The rear face's half edge of 100 / 9 px is twice as long in a picture twice as wide.
    low, high = red.min(axis=0), red.max(axis=0)
    np.testing.assert_allclose(high[1] - low[1], 2 * 200 / 9, atol=2)
    np.testing.assert_allclose((high + low)[1] / 2, 199.5, atol=1.5)


def test_projected_corners_coincide_with_the_masks() -> None:
    """Every mask of the toy town lies within its box's outline; an object in full view fills it."""
    pytest.importorskip("embreex", reason="the toy town's ray caster is not installed")
    from lidarloop_training.toytown.drive import ToyTownDrive

    drive = ToyTownDrive(7, duration_s=0.1)
    sample = drive[0]
    num_compared, best = 0, 0.0
    for image in sample.cameras:
        position = {name: i for i, name in enumerate(sample.annotations.instance_ids)}
        outlines = {}
        for frame in wireframes(image, sample.keyframe, sample.annotations.boxes):
            pixels = frame.edges.reshape(-1, 2)
            outlines[frame.index] = np.concatenate([pixels.min(axis=0), pixels.max(axis=0) + 1])
        for mask in drive.instance_masks(0, image.name):
            outline, got = outlines.get(position.get(mask.instance_id)), np.array(mask.box)
            if outline is None or mask.num_pixels < 30:
                continue
            if (outline[:2] < 1).any() or (outline[2:] > np.array([image.width, image.height]) - 1).any():
                continue  # cut off by the picture's border
            assert (got[:2] >= outline[:2] - 2).all(), mask.instance_id
            assert (got[2:] <= outline[2:] + 2).all(), mask.instance_id
            best = max(best, np.prod(got[2:] - got[:2]) / np.prod(outline[2:] - outline[:2]))
            num_compared += 1
    assert num_compared >= 5
    assert best > 0.9
