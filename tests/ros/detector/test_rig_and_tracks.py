"""Several LiDARs and tracks, over DDS on the node in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.publisher import Publisher
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import boxes_from_cloud, boxes_from_detections, stamp_ns
from tests.ros.conftest import Robot

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
TOP = SE3.from_yaw(0.0, (1.0, 0.0, 1.8))
LEFT = SE3.from_yaw(np.pi / 2, (1.0, 1.0, 0.8))
CLASS_NAMES = ("car", "pedestrian", "barrier")


def in_frame(base_SE3_lidar: SE3, points_base: npt.ArrayLike) -> list[list[float]]:
    points = base_SE3_lidar.inverse().transform(np.asarray(points_base, float))
    return [[*point, 50.0] for point in points.tolist()]


@pytest.fixture(scope="module")
def rig_robot(any_robot: Robot, make_model: Callable[..., Path]) -> tuple[Robot, Publisher]:
    """A node that joins /left/points, and waits long for it; whoever takes it may send to either LiDAR."""
    any_robot.reconfigure(
        model=str(make_model()),
        extra_points_topics=["/left/points"],
        extra_points_delay_s=[0.5],
        motion_source="none",
        score_threshold=0.0,
    )
    left = any_robot.node.create_publisher(PointCloud2, "/left/points", 10)
    any_robot.send_static_transform("base_link", "lidar_top", TOP)
    any_robot.send_static_transform("base_link", "lidar_left", LEFT)
    any_robot.wait_for(lambda: left.get_subscription_count() > 0, "a subscriber of the left LiDAR")
    return any_robot, left


# Three points of one thing, in one pillar of the top LiDAR's frame: two are seen by the top, one by the left LiDAR.
THING = [[8.1, 3.1, 0.5], [8.2, 3.2, 0.6], [8.3, 3.3, 0.7]]


@pytest.mark.fault("lidar_missing")
def test_two_lidars_are_joined_and_a_missing_one_is_a_warning(rig_robot: tuple[Robot, Publisher]) -> None:
    robot, left = rig_robot
    expected = np.mean([p[:3] for p in in_frame(TOP, THING)], axis=0)

    def both(stamp: int) -> Boxes3D:
        left.publish(robot.cloud(in_frame(LEFT, THING[2:]), stamp + SECOND // 100, "lidar_left"))
        _, boxes = robot.ask(robot.cloud(in_frame(TOP, THING[:2]), stamp))
        return boxes[boxes.scores > 0]

    for i in range(20):  # /tf_static may reach the node a little later than the first cloud
        boxes = both(T0 + i * SECOND)
        if np.isclose(boxes.scores, 3 / 8).all():
            break
    np.testing.assert_allclose(boxes.values[0, :3], expected, atol=1e-5)

    _, boxes = robot.ask(robot.cloud(in_frame(TOP, THING[:2]), T0 + 100 * SECOND))
    np.testing.assert_allclose(boxes.scores[boxes.scores > 0], 2 / 8)  # detected without it, after its delay
    status = robot.status_where(lambda s: "/left/points: no cloud in time" in s.message, "a warning")
    assert status.level == DiagnosticStatus.WARN


def test_numbers_of_topics_and_delays_must_agree(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    with pytest.raises(Exception, match="extra_points_delay_s"):
        any_robot.reconfigure(
            model=str(make_model()),
            extra_points_topics=["/left/points", "/right/points", "/rear/points"],
            extra_points_delay_s=[0.1, 0.2],
        )


def test_tracks_keep_their_ids_while_the_vehicle_moves(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    robot = any_robot
    robot.reconfigure(model=str(make_model()), tracking=True, score_threshold=0.3, motion_source="odometry")
    tracks: list[Detection3DArray] = []
    clouds: list[PointCloud2] = []
    robot.node.create_subscription(Detection3DArray, "/lidar_detector/tracks", tracks.append, 50)
    robot.node.create_subscription(PointCloud2, "/lidar_detector/track_boxes", clouds.append, 50)
    robot.wait_for(lambda: robot.node.count_publishers("/lidar_detector/track_boxes") > 0, "a publisher of tracks")
    robot.send_static_transform("base_link", "lidar_top", TOP)
    robot.wait_for_odometry_subscriber()
    # Two things that stand in the world, each six points in the middle of a pillar, seen from 4 m/s in a bend.
    things = np.array([[21.0, 5.0, 0.8], [33.0, -7.0, 0.8]])
    for i in range(60):
        stamp = T0 + i * SECOND // 10
        odom_SE3_base = SE3.from_yaw(0.01 * i, (0.4 * i, 0.0, 0.0))
        robot.send_odometry(stamp, odom_SE3_base)
        seen = (odom_SE3_base @ TOP).inverse().transform(np.repeat(things, 6, axis=0))
        robot.ask(robot.cloud([[*p, 10.0] for p in seen.tolist()], stamp))
        if len(clouds) > 5 and [len(message.detections) for message in tracks[-2:]] == [2, 2]:
            break
    robot.wait_for(lambda: len(clouds) == len(tracks), "both forms of the last tracks")
    before, last = tracks[-2:]
    ids = {detection.id for detection in last.detections}
    assert len(ids) == 2
    assert "" not in ids
    assert {detection.id for detection in before.detections} == ids
    boxes, extra = boxes_from_cloud(clouds[-1], CLASS_NAMES)
    assert {str(int(number)) for number in extra["id"]} == ids
    assert (extra["age_s"] > 0).all()
    assert stamp_ns(last.header) == stamp_ns(clouds[-1].header)
    assert len(boxes_from_detections(last, CLASS_NAMES)) == len(boxes)
