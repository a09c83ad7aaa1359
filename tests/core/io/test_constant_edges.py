"""ConstantEdges: /tf_static, and what stays the same on /tf, joined."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.bag import message_type
from lidarloop_core.io.constant_edges import MIN_SEEN, ConstantEdges
from lidarloop_core.io.messages import frame_name, transforms_message

MOUNTING = SE3.from_yaw(0.3, (1.0, 0.0, 1.8))


def say(edges: ConstantEdges, parent: str, child: str, pose: SE3, *, is_static: bool = False, times: int = 1) -> None:
    for stamp in range(times):
        edges.add(transforms_message([(parent, child, pose)], stamp, message_type), is_static=is_static)


def test_a_frame_to_itself_is_the_identity_even_if_it_is_unknown() -> None:
    np.testing.assert_array_equal(ConstantEdges().between("lidar", "/lidar").matrix, np.eye(4))


def test_static_and_constant_transforms_are_joined_up_and_down_the_tree() -> None:
    edges = ConstantEdges()
    say(edges, "/base_link", "roof", MOUNTING, is_static=True)
    say(edges, "roof", "/lidar", MOUNTING, times=MIN_SEEN)
    say(edges, "base_link", "camera", MOUNTING.inverse(), is_static=True)
    np.testing.assert_allclose(edges.between("base_link", "lidar").matrix, (MOUNTING @ MOUNTING).matrix, atol=1e-12)
    expected = MOUNTING @ MOUNTING @ MOUNTING
    np.testing.assert_allclose(edges.between("/camera", "lidar").matrix, expected.matrix, atol=1e-12)
    assert edges.on_tf("base_link", "lidar")
    assert not edges.on_tf("base_link", "camera")


def test_what_moves_is_no_mounting_and_does_not_become_one_again() -> None:
    edges = ConstantEdges()
    say(edges, "base_link", "lidar", MOUNTING, times=MIN_SEEN)
    edges.between("base_link", "lidar")
    say(edges, "base_link", "lidar", SE3.from_yaw(0.31, (1.0, 0.0, 1.8)))
    say(edges, "base_link", "lidar", MOUNTING, times=MIN_SEEN)
    with pytest.raises(LookupError, match="'lidar' moves in 'base_link'"):
        edges.between("base_link", "lidar")
    say(edges, "base_link", "lidar", MOUNTING, is_static=True)
    np.testing.assert_allclose(edges.between("base_link", "lidar").matrix, MOUNTING.matrix, atol=1e-12)


def test_too_few_messages_unknown_frames_circles_and_broken_poses_are_no_mounting() -> None:
    edges = ConstantEdges()
    say(edges, "base_link", "lidar", MOUNTING, times=MIN_SEEN - 1)
    with pytest.raises(LookupError, match="not joined"):
        edges.between("base_link", "lidar")
    with pytest.raises(LookupError, match="'nowhere' is unknown"):
        edges.between("base_link", "nowhere")
    say(edges, "a", "b", MOUNTING, is_static=True)
    say(edges, "b", "a", MOUNTING, is_static=True)
    with pytest.raises(LookupError):
        edges.between("base_link", "a")
    broken = transforms_message([("base_link", "lidar_2", MOUNTING)], 0, message_type)
    rotation = broken.transforms[0].transform.rotation
    rotation.x = rotation.y = rotation.z = rotation.w = 0.0
    edges.add(broken, is_static=True)
    with pytest.raises(LookupError):
        edges.between("base_link", "lidar_2")


@pytest.mark.parametrize(("given", "name"), [("lidar", "lidar"), ("/lidar", "lidar"), ("//a/b", "a/b"), ("", "")])
def test_frame_names_lose_their_leading_slashes(given: str, name: str) -> None:
    assert frame_name(given) == name
