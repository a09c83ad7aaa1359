from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import CameraImage, Sample
from lidarloop_training.tasks.augment import NO_AUGMENTATION, SceneChange
from lidarloop_training.tasks.detection.unseen import cell_centers, unseen_cells
from tests.training.conftest import BoxScenes

FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""An optical frame that looks along x."""

UNCHANGED = SceneChange.draw(NO_AUGMENTATION, np.random.default_rng(0))


def looking_ahead(yaw_rad: float = 0.0, height: int = 20_000) -> CameraImage:
    """A camera at the LiDAR that sees a little more than 45° to either side, and nearly up to the zenith.

    No cell's middle lies on the edge of its pictures.
    """
    intrinsics = np.array([[480.0, 0, 500], [0, 500, height / 2], [0, 0, 1]])
    turned = SE3.from_yaw(yaw_rad) @ SE3(FORWARD, np.zeros(3))
    return CameraImage(
        "AHEAD", lambda: np.zeros((height, 1000, 3), np.uint8), intrinsics, 1000, height, 0, turned, SE3.identity()
    )


def sample(*cameras: CameraImage, in_view_only: bool = True) -> Sample:
    made = BoxScenes(num_samples=1)[0]
    assert made.annotations is not None
    annotations = dataclasses.replace(made.annotations, in_view_only=in_view_only)
    return dataclasses.replace(made, cameras=cameras, annotations=annotations)


def test_cells_outside_a_camera_s_angle_are_unseen(spec: ModelSpec) -> None:
    unseen = unseen_cells(sample(looking_ahead()), spec, 1, UNCHANGED)
    x, y = cell_centers(spec, 1).T
    expected = ~((x > 0) & (np.abs(y) < x * 500 / 480))
    np.testing.assert_array_equal(unseen.ravel(), expected)
    assert 0 < expected.mean() < 1


def test_a_cell_is_seen_if_one_camera_sees_it(spec: ModelSpec) -> None:
    ahead, behind = looking_ahead(), looking_ahead(np.pi)
    one, other = (unseen_cells(sample(camera), spec, 1, UNCHANGED) for camera in (ahead, behind))
    np.testing.assert_array_equal(unseen_cells(sample(ahead, behind), spec, 1, UNCHANGED), one & other)


@pytest.mark.parametrize("in_view_only", [True, False])
def test_without_a_picture_nothing_is_seen_unless_labels_do_not_depend_on_it(
    spec: ModelSpec, in_view_only: bool
) -> None:
    unseen = unseen_cells(sample(in_view_only=in_view_only), spec, 2, UNCHANGED)
    assert unseen.shape == (8, 10)
    assert unseen.all() == in_view_only
    assert unseen.any() == in_view_only


def test_what_is_unseen_turns_with_the_scene(spec: ModelSpec) -> None:
    """A scene turned by 90° and mirrored has the view of a camera that looks to where the view has gone."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]], np.float32)
    mirror = np.diag([1.0, -1.0]).astype(np.float32)
    for linear, yaw in ((turn, np.pi / 2), (mirror @ turn, -np.pi / 2), (1.1 * turn, np.pi / 2)):
        changed = unseen_cells(sample(looking_ahead()), spec, 1, SceneChange(linear, 1.0, 1.0))
        expected = unseen_cells(sample(looking_ahead(yaw)), spec, 1, UNCHANGED)
        np.testing.assert_array_equal(changed, expected)


def test_a_low_picture_does_not_show_the_near_ground(spec: ModelSpec) -> None:
    """The camera's lower edge is at 45° below: of the cells straight ahead those nearer than the depth are unseen."""
    unseen = unseen_cells(sample(looking_ahead(height=1000)), spec, 1, UNCHANGED)
    x, y = cell_centers(spec, 1).T
    below_m = spec.lidar_height_m - 0.8
    ahead = np.abs(y) < 0.6
    np.testing.assert_array_equal(unseen.ravel()[ahead], ~(x > below_m)[ahead])
