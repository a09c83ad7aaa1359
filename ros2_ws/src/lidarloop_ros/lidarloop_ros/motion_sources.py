"""The ROS side of ego-motion: nav_msgs/Odometry, TF, or none."""

from __future__ import annotations

from typing import Protocol

import tf2_ros
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import pose_from_message, stamp_ns, transform_from_message
from lidarloop_ros.motion import MotionUnavailableError, OdometryTrack, SensorPose, poll
from lidarloop_ros.params import DetectorParams


class MotionSource(Protocol):
    """Knows where the LiDAR was. ``locate`` is called by the detection thread, the subscriptions by the executor."""

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        """Raises MotionUnavailableError."""
        ...

    def time_jumped_back_to(self, stamp_ns: int) -> None: ...

    def destroy(self) -> None: ...


def open_motion_source(node: Node, params: DetectorParams) -> MotionSource:
    """The one that the parameter ``motion_source`` names."""
    if params.motion_source == "odometry":
        return OdometryMotion(node, params)
    if params.motion_source == "tf":
        return TfMotion(node, params)
    return NoMotion()


class NoMotion:
    """For a model that merges sweeps this is a fault the user chose, and the diagnostics go on saying so."""

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        raise MotionUnavailableError("the model merges sweeps, but motion_source is 'none'")

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        pass

    def destroy(self) -> None:
        pass


class OdometryMotion:
    """Poses of ``base_frame`` from odometry; the LiDAR's mounting pose from /tf_static, for which /tf is not needed."""

    def __init__(self, node: Node, params: DetectorParams) -> None:
        self._node = node
        self._base_frame = params.base_frame
        self._timeout_s = params.motion_timeout_s
        self._track = OdometryTrack()
        self._foreign_child_frame = ""
        self._buffer = tf2_ros.Buffer()
        self._subscriptions = (
            node.create_subscription(
                Odometry,
                "~/input/odometry",
                self._on_odometry,
                QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            ),
            node.create_subscription(
                TFMessage,
                "/tf_static",
                self._on_static_transforms,
                QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            ),
        )

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        if self._foreign_child_frame:
            raise MotionUnavailableError(
                f"odometry is of '{self._foreign_child_frame}', but base_frame is '{self._base_frame}'; make them equal"
            )
        try:
            mounting = self._buffer.lookup_transform(self._base_frame, lidar_frame, Time())
        except tf2_ros.TransformException as error:
            raise MotionUnavailableError(
                f"no transform from '{self._base_frame}' to the cloud's frame '{lidar_frame}' on /tf_static ({error})"
            ) from None
        world_SE3_ego = self._track.at(stamp_ns, timeout_s=self._timeout_s)
        return SensorPose(world_SE3_ego, transform_from_message(mounting.transform))

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        self._track.time_jumped_back_to(stamp_ns)

    def destroy(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_odometry(self, msg: Odometry) -> None:
        self._foreign_child_frame = "" if msg.child_frame_id == self._base_frame else msg.child_frame_id or "(empty)"
        try:
            pose = pose_from_message(msg.pose.pose)
        except ValueError as error:
            self._node.get_logger().warning(f"odometry left out: {error}", throttle_duration_sec=5.0)
            return
        self._track.add(stamp_ns(msg.header), pose)

    def _on_static_transforms(self, msg: TFMessage) -> None:
        for transform in msg.transforms:
            self._buffer.set_transform_static(transform, "lidar_detector")


class TfMotion:
    """The LiDAR's pose in ``odom_frame`` straight from TF."""

    def __init__(self, node: Node, params: DetectorParams) -> None:
        self._odom_frame = params.odom_frame
        self._timeout_s = params.motion_timeout_s
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        def look_up() -> SE3:
            transform = self._buffer.lookup_transform(self._odom_frame, lidar_frame, Time(nanoseconds=stamp_ns))
            return transform_from_message(transform.transform)

        odom_SE3_lidar = poll(look_up, tf2_ros.TransformException, timeout_s=self._timeout_s)
        return SensorPose(odom_SE3_lidar, SE3.identity())

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        # tf2 ignores older data until it is cleared; static transforms outlive that.
        self._buffer.clear()

    def destroy(self) -> None:
        self._listener.unregister()
