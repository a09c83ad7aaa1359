"""Sweeps merged over DDS with odometry or TF, in closed form; and what happens when the motion is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TwistWithCovarianceStamped
from sensor_msgs.msg import Imu

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import boxes_from_cloud, cloud_message, odometry_message, stamp_ns
from lidarloop_ros.messages.conversions import message_type
from tests.ros.conftest import Robot

MS = 1_000_000
CLASS_NAMES = ("car", "pedestrian", "barrier")
T0 = 1_700_000_000_000 * MS
SPEC = {"num_sweeps": 3, "sweep_interval_s": 0.1}
BASE_SE3_LIDAR = SE3.from_yaw(0.3, (0.9, 0.1, 1.8))
# A thing that stands still in the world, in the middle of a pillar of the last cloud's frame.
LAST_POINT = np.array([[5.0, 3.0, 0.5]])


def odom_SE3_base(stamp: int) -> SE3:
    """A drive in a curve at 8 m/s."""
    t = (stamp - T0) * 1e-9
    return SE3.from_yaw(0.4 * t, (20 * np.sin(0.4 * t), 20 * (1 - np.cos(0.4 * t)), 0.0))


def odom_SE3_lidar(stamp: int) -> SE3:
    return odom_SE3_base(stamp) @ BASE_SE3_LIDAR


def seen_at(stamp: int, last: int) -> list[list[float]]:
    """The one point (x, y, z, intensity) as the LiDAR sees it at ``stamp``."""
    point = (odom_SE3_lidar(stamp).inverse() @ odom_SE3_lidar(last)).transform(LAST_POINT)
    return [[*point[0], 60.0]]


def stamps(begin: int = T0) -> list[int]:
    return [begin + i * 100 * MS for i in range(3)]


def drive(robot: Robot, begin: int = T0) -> Boxes3D:
    """Three clouds, each with odometry of its stamp; the boxes of the last."""
    last = stamps(begin)[-1]
    for stamp in stamps(begin):
        robot.send_odometry(stamp, odom_SE3_base(stamp))
        _, boxes = robot.ask(robot.cloud(seen_at(stamp, last), stamp))
    return boxes


def assert_three_sweeps(boxes: Boxes3D) -> None:
    assert len(boxes) == 1
    np.testing.assert_allclose(boxes.values[0, :3], LAST_POINT[0], atol=1e-4)
    np.testing.assert_allclose(boxes.values[0, 7:], [0.1, 60.0], atol=1e-4)  # mean dt of 0, 0.1, 0.2 s; intensity
    np.testing.assert_allclose(boxes.scores, [3 / 8])


def assert_single_sweep(boxes: Boxes3D) -> None:
    np.testing.assert_allclose(boxes.values[0, 7:], [0.0, 60.0], atol=1e-4)
    np.testing.assert_allclose(boxes.scores, [1 / 8])


@pytest.fixture
def mounted(robot: Robot, make_model: Callable[..., Path]) -> Robot:
    """An active node that merges three sweeps, told where the LiDAR is mounted."""
    robot.send_static_transform("base_link", "lidar_top", BASE_SE3_LIDAR)
    robot.bring_up(model=str(make_model(**SPEC)), motion_timeout_s=1.0)
    robot.wait_for_odometry_subscriber()
    return robot


@pytest.mark.fault("time_backward")
def test_odometry_merges_sweeps_and_a_looped_bag_starts_afresh(mounted: Robot) -> None:
    assert_three_sweeps(drive(mounted))
    mounted.status_where(lambda s: any((p.key, p.value) == ("sweeps_used", "3") for p in s.values), "three sweeps")

    # The bag starts over: nothing of the first pass may enter the second.
    last, begin = stamps()[-1], T0 - 1000 * MS
    mounted.send_odometry(begin, odom_SE3_base(begin))
    _, boxes = mounted.ask(mounted.cloud(seen_at(begin, last), begin))
    assert_single_sweep(boxes)
    mounted.reported(DiagnosticStatus.WARN, "time went backwards")
    assert_three_sweeps(drive(mounted, T0 + 1000 * MS))


@pytest.mark.fault("two_clocks")
def test_two_publishers_on_far_apart_clocks_reset_nothing_and_are_named(mounted: Robot) -> None:
    last, apart = T0 + 900 * MS, 1_000_000 * MS
    boxes = []
    for i in range(10):
        stamp = T0 + i * 100 * MS
        mounted.send_odometry(stamp, odom_SE3_base(stamp))
        boxes.append(mounted.ask(mounted.cloud(seen_at(stamp, last), stamp))[1])
        _, of_the_other = mounted.ask(mounted.cloud([[*LAST_POINT[0], 60.0]], stamp - apart))
        assert len(of_the_other) == 1
    assert_three_sweeps(boxes[-1])
    status = mounted.reported(DiagnosticStatus.WARN, "two clocks")
    assert "~/input/points has messages of two clocks, 1000." in status.message
    assert mounted.process.log_tail(1000).count("stamps went back") == 1


def test_odometry_that_comes_after_the_cloud_is_waited_for(mounted: Robot) -> None:
    last = stamps()[-1]
    # So long before the next cloud that the motion may not be continued up to it: only the next odometry will do.
    before = T0 - 55 * MS
    mounted.send_odometry(before, odom_SE3_base(before))
    for stamp in stamps():
        answers = len(mounted.box_clouds)
        mounted.send(mounted.cloud(seen_at(stamp, last), stamp))
        time.sleep(0.02)
        assert len(mounted.box_clouds) == answers, "not answered without its pose"
        after = stamp + 45 * MS
        mounted.send_odometry(after, odom_SE3_base(after))
        mounted.wait_for(lambda: len(mounted.box_clouds) > answers, "detections")  # noqa: B023
    boxes, _ = boxes_from_cloud(mounted.box_clouds[-1], CLASS_NAMES)
    # Interpolated over 100 ms of the curve.
    np.testing.assert_allclose(boxes.values[0, :3], LAST_POINT[0], atol=2e-3)
    np.testing.assert_allclose(boxes.scores, [3 / 8])


def pose_message(stamp: int) -> PoseStamped:
    at = odometry_message(odom_SE3_base(stamp), (0, 0, 0), (0, 0, 0), stamp, message_type)
    return PoseStamped(header=at.header, pose=at.pose.pose)


def twist_message(stamp: int, turn_radps: float = 0.4) -> TwistWithCovarianceStamped:
    """The velocity of ``odom_SE3_base``."""
    msg = TwistWithCovarianceStamped()
    msg.header = odometry_message(SE3.identity(), (0, 0, 0), (0, 0, 0), stamp, message_type).header
    msg.header.frame_id = "base_link"
    msg.twist.twist.linear.x, msg.twist.twist.angular.z = 8.0, turn_radps
    return msg


def imu_message(stamp: int) -> Imu:
    """Its rate of turning, of an IMU that is mounted upside down."""
    msg = Imu()
    msg.header = twist_message(stamp).header
    msg.header.frame_id = "imu"
    msg.angular_velocity.z = -0.4
    return msg


UPSIDE_DOWN = SE3(np.diag([1.0, -1.0, -1.0]), np.array([0.3, 0.2, 0.4]))


@pytest.mark.parametrize(
    ("source", "with_covariance", "published"),
    [
        ("pose", False, {"pose": (PoseStamped, pose_message)}),
        ("twist", True, {"twist": (TwistWithCovarianceStamped, twist_message)}),
        (
            "twist_imu",
            True,
            {
                "twist": (TwistWithCovarianceStamped, lambda stamp: twist_message(stamp, 99.0)),
                "imu": (Imu, imu_message),
            },
        ),
    ],
)
def test_sweeps_are_merged_without_odometry(
    robot: Robot,
    make_model: Callable[..., Path],
    source: str,
    with_covariance: bool,
    published: dict[str, tuple[type, Callable[[int], Any]]],
) -> None:
    robot.send_static_transform("base_link", "lidar_top", BASE_SE3_LIDAR)
    robot.send_static_transform("base_link", "imu", UPSIDE_DOWN)
    robot.bring_up(
        model=str(make_model(**SPEC)),
        motion_source=source,
        motion_with_covariance=with_covariance,
        motion_timeout_s=1.0,
    )
    publishers = {
        name: robot.node.create_publisher(message, f"{robot.name}/input/{name}", 50)
        for name, (message, _) in published.items()
    }
    for publisher in publishers.values():
        robot.wait_for(publisher.get_subscription_count, "a subscriber of the motion")
    time.sleep(0.3)  # /tf_static has come
    last = stamps()[-1]
    for i in range(-2, 21):
        stamp = T0 + 10 * i * MS
        for name, (_, make) in published.items():
            publishers[name].publish(make(stamp))
        time.sleep(0.005)  # in order of their stamps
        if stamp in stamps():
            _, boxes = robot.ask(robot.cloud(seen_at(stamp, last), stamp))
    assert_three_sweeps(boxes)


def test_clouds_with_their_skew_are_deskewed_by_odometry(robot: Robot, make_model: Callable[..., Path]) -> None:
    """The stamp is the sweep's start; the model was trained at its end; boxes are at the stamp."""
    robot.send_static_transform("base_link", "lidar_top", BASE_SE3_LIDAR)
    robot.bring_up(model=str(make_model(**SPEC)), deskew=True, motion_timeout_s=1.0)
    robot.wait_for_odometry_subscriber()
    for stamp in (T0 - 50 * MS, T0, T0 + 50 * MS, T0 + 100 * MS):
        robot.send_odometry(stamp, odom_SE3_base(stamp))
    after_ms = np.array([0, 30, 70, 100])
    seen = np.array([seen_at(T0 + int(ms) * MS, T0)[0] for ms in after_ms], np.float32)
    columns = {name: seen[:, i] for i, name in enumerate(("x", "y", "z", "intensity"))}
    columns["t"] = (after_ms * MS).astype(np.uint32)
    answer, boxes = robot.ask(cloud_message(columns, T0, "lidar_top", message_type))
    np.testing.assert_allclose(boxes.values[:, :3], LAST_POINT, atol=0.01)
    np.testing.assert_allclose(boxes.scores, [4 / 8])
    assert stamp_ns(answer.header) == T0
    status = robot.status_where(lambda s: any(p.key == "point_times" for p in s.values), "times of points")
    (times,) = (p.value for p in status.values if p.key == "point_times")
    assert times == "t in ns, relative to the stamp; 100 ms long, stamped at the sweep's start"
    robot.ask(robot.cloud(seen_at(T0 + 100 * MS, T0), T0 + 100 * MS))
    assert "no time for each point" in robot.reported(DiagnosticStatus.WARN, "not deskewed").message


@pytest.mark.fault("motion")
@pytest.mark.parametrize(
    ("fault", "remedy"),
    [("no odometry", "~/input/odometry"), ("no mounting", "/tf_static"), ("other child frame", "base_frame")],
)
def test_without_motion_a_single_sweep_is_used_with_a_warning(
    robot: Robot, make_model: Callable[..., Path], fault: str, remedy: str
) -> None:
    if fault != "no mounting":
        robot.send_static_transform("base_link", "lidar_top", BASE_SE3_LIDAR)
    robot.bring_up(model=str(make_model(**SPEC)))
    robot.wait_for_odometry_subscriber()
    for stamp in stamps():
        if fault != "no odometry":
            child = "base_footprint" if fault == "other child frame" else "base_link"
            robot.send_odometry(stamp, odom_SE3_base(stamp), child_frame_id=child)
        _, boxes = robot.ask(robot.cloud([[*LAST_POINT[0], 60.0]], stamp))
        assert_single_sweep(boxes)
    status = robot.reported(DiagnosticStatus.WARN, "single sweep")
    assert remedy in status.message


def test_tf_merges_sweeps(robot: Robot, make_model: Callable[..., Path]) -> None:
    robot.send_static_transform("base_link", "lidar_top", BASE_SE3_LIDAR)
    robot.bring_up(model=str(make_model(**SPEC)), motion_source="tf", motion_timeout_s=1.0)
    robot.wait_for_transform_subscriber()
    last = stamps()[-1]
    for stamp in stamps():
        robot.send_transform(stamp, "odom", "base_link", odom_SE3_base(stamp))
        _, boxes = robot.ask(robot.cloud(seen_at(stamp, last), stamp))
    assert_three_sweeps(boxes)


@pytest.mark.fault("implausible")
@pytest.mark.parametrize("source", ["odometry", "tf"])
def test_ego_motion_that_jumps_is_not_believed(robot: Robot, make_model: Callable[..., Path], source: str) -> None:
    robot.send_static_transform("base_link", "lidar_top", BASE_SE3_LIDAR)
    robot.bring_up(model=str(make_model(**SPEC)), motion_source=source, motion_timeout_s=1.0)
    (robot.wait_for_odometry_subscriber if source == "odometry" else robot.wait_for_transform_subscriber)()
    for i in range(6):
        stamp, pose = T0 + i * 100 * MS, SE3.from_yaw(0.0, (5.0 * (i % 2), 0.0, 0.0))
        if source == "odometry":
            robot.send_odometry(stamp, pose)
        else:
            robot.send_transform(stamp, "odom", "base_link", pose)
        _, boxes = robot.ask(robot.cloud([[*LAST_POINT[0], 60.0]], stamp))
        assert_single_sweep(boxes)
    assert "max_speed_mps is 45" in robot.reported(DiagnosticStatus.WARN, "single sweep: implausible motion").message


@pytest.mark.fault("disorder")
def test_a_cloud_that_is_a_little_late_takes_no_motion_from_the_others(
    robot: Robot, make_model: Callable[..., Path]
) -> None:
    robot.send_static_transform("base_link", "lidar_top", BASE_SE3_LIDAR)
    robot.bring_up(model=str(make_model(**SPEC)), motion_source="tf", motion_timeout_s=1.0)
    robot.wait_for_transform_subscriber()
    last = stamps()[-1]
    for stamp in stamps():
        robot.send_transform(stamp, "odom", "base_link", odom_SE3_base(stamp))
        if stamp == last:
            robot.ask(robot.cloud(seen_at(stamp, last), stamp - 105 * MS))  # 5 ms before the cloud before
        _, boxes = robot.ask(robot.cloud(seen_at(stamp, last), stamp))
    assert_three_sweeps(boxes)


@pytest.mark.fault("frame_names")
def test_frame_names_with_a_leading_slash_are_the_same_frames(robot: Robot, make_model: Callable[..., Path]) -> None:
    robot.send_static_transform("/base_link", "/lidar_top", BASE_SE3_LIDAR)
    robot.bring_up(model=str(make_model(**SPEC)), base_frame="/base_link", motion_timeout_s=1.0)
    robot.wait_for_odometry_subscriber()
    last = stamps()[-1]
    for stamp in stamps():
        robot.send_odometry(stamp, odom_SE3_base(stamp), child_frame_id="base_link")
        answer, boxes = robot.ask(robot.cloud(seen_at(stamp, last), stamp, "/lidar_top"))
    assert_three_sweeps(boxes)
    assert answer.header.frame_id == "/lidar_top", "the cloud's own header"
