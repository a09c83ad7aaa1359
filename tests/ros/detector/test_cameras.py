"""A model with cameras on the node: pictures over DDS, and the fall-back to the points alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image

from lidarloop_core.camera_bev.lift_table import PlacedCamera, lift_table
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import camera_info_message, header_message
from lidarloop_ros.messages.conversions import message_type
from tests.ros.conftest import Robot
from tests.ros.networks import SPEC

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
RIG = CameraRig(
    names=("CAM_FRONT", "CAM_BACK"),
    width=16,
    height=8,
    stride=8,
    depth_range_m=(2.0, 38.0),
    num_depths=9,
    map_stride=2,
)
TOP = SE3.from_yaw(0.3, (1.0, 0.0, 1.8))
OPTICAL = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
MOUNTED = {"CAM_FRONT": SE3.from_yaw(0.0, (1.5, 0.0, 1.5)) @ OPTICAL, "CAM_BACK": SE3.from_yaw(np.pi) @ OPTICAL}
INTRINSICS = np.array([[20.0, 0.0, 15.5], [0.0, 20.0, 7.5], [0.0, 0.0, 1.0]])
WIDTH, HEIGHT = 32, 16
TOPICS = [f"/camera/{name.lower()}/image_rect" for name in RIG.names]
POINTS = [[8.1, 3.1, 0.5, 50.0]] * 8


class Cameras:
    """The publishers of both cameras' pictures and calibrations."""

    def __init__(self, robot: Robot) -> None:
        self.images: dict[str, Publisher] = {}
        self.infos: dict[str, Publisher] = {}
        for name, topic in zip(RIG.names, TOPICS, strict=True):
            self.images[name] = robot.node.create_publisher(Image, topic, 10)
            self.infos[name] = robot.node.create_publisher(CameraInfo, topic.replace("image_rect", "camera_info"), 10)

    def send(self, stamp: int, grey: dict[str, int]) -> None:
        """Pictures of one grey value each, with their calibration."""
        for name, value in grey.items():
            self.infos[name].publish(camera_info_message(INTRINSICS, WIDTH, HEIGHT, stamp, name, message_type))
            header = header_message(stamp, name, message_type)
            data = bytes([value]) * (3 * WIDTH * HEIGHT)
            self.images[name].publish(
                Image(header=header, height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH, data=list(data))
            )


def lit_cells(*names: str) -> int:
    """Cells of the map that these cameras reach."""
    cameras = [
        PlacedCamera(INTRINSICS, WIDTH, HEIGHT, TOP.inverse() @ MOUNTED[name]) if name in names else None
        for name in RIG.names
    ]
    return int((lift_table(cameras, RIG, SPEC.grid).cells > 0).sum())


@pytest.fixture(scope="module")
def fused(any_robot: Robot, make_model: Callable[..., Path]) -> tuple[Robot, Cameras]:
    cameras = Cameras(any_robot)
    any_robot.reconfigure(
        model=str(make_model(cameras=RIG)),
        image_topics=TOPICS,
        camera_patience_s=0.5,
        motion_source="none",
        score_threshold=0.9,
    )
    any_robot.send_static_transform("base_link", "lidar_top", TOP)
    for name, pose in MOUNTED.items():
        any_robot.send_static_transform("base_link", name, pose)
    publishers = [*cameras.images.values(), *cameras.infos.values()]
    any_robot.wait_for(lambda: all(p.get_subscription_count() for p in publishers), "subscribers of the cameras")
    return any_robot, cameras


def velocity(robot: Robot, cameras: Cameras, stamp: int, grey: dict[str, int]) -> Any:
    """What the closed form gives for a cloud with these pictures: (vx, vy) of its only box."""
    cameras.send(stamp + SECOND // 100, grey)
    _, boxes = robot.ask(robot.cloud(POINTS, stamp))
    assert len(boxes) == 1
    return boxes.velocities[0]


@pytest.mark.fault("camera_missing")
def test_pictures_reach_the_network_and_a_missing_one_is_a_warning(fused: tuple[Robot, Cameras]) -> None:
    robot, cameras = fused
    expected = [(100 + 200) / 2 / 255, 50 + lit_cells(*RIG.names)]
    for i in range(20):  # /tf_static and calibrations may reach the node a little later than the first cloud
        found = velocity(robot, cameras, T0 + i * SECOND, {"CAM_FRONT": 100, "CAM_BACK": 200})
        if np.allclose(found, expected, atol=1e-4):
            break
    np.testing.assert_allclose(found, expected, atol=1e-4)

    found = velocity(robot, cameras, T0 + 100 * SECOND, {"CAM_BACK": 200})
    np.testing.assert_allclose(found, [100 / 255, 50 + lit_cells("CAM_BACK")], atol=1e-4)
    robot.reported(DiagnosticStatus.WARN, "camera CAM_FRONT: no picture in time")


@pytest.mark.fault("camera_missing")
def test_without_any_picture_the_points_are_answered_alone(fused: tuple[Robot, Cameras]) -> None:
    robot, cameras = fused
    np.testing.assert_allclose(velocity(robot, cameras, T0 + 200 * SECOND, {}), [0, 50], atol=1e-6)
    robot.reported(DiagnosticStatus.WARN, "answered from the points alone, without cameras: camera CAM_FRONT: no pict")


def test_topics_of_other_cameras_are_refused(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    with pytest.raises(Exception, match="received topics of CAM_LEFT with mean-of-pillar; expected those of CAM_FRONT"):
        any_robot.reconfigure(model=str(make_model(cameras=RIG)), image_topics=["/camera/cam_left/image"])
