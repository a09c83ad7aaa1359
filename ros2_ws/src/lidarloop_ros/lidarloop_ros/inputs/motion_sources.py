"""The ROS side of ego-motion: nav_msgs/Odometry, TF, or none."""

from __future__ import annotations

from typing import Protocol

import tf2_ros
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import pose_from_message, stamp_ns, transform_from_message
from lidarloop_ros.inputs.motion import MotionUnavailableError, OdometryTrack, SensorPose, poll
from lidarloop_ros.inputs.motion_params import MotionParams


class MotionSource(Protocol):
    """Knows where the LiDAR was. ``locate`` is called by the working thread, the subscriptions by the executor.

    Attributes:
        inputs: subscriptions whose publishers are checked.
    """

    inputs: tuple[Subscription, ...]

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        """Raises MotionUnavailableError."""
        ...

    def time_jumped_back_to(self, stamp_ns: int) -> None: ...

    def destroy(self) -> None: ...


class VehiclePoses(MotionSource, Protocol):
    """One that also tells both parts of a sensor's pose, as several sensors of one vehicle need them."""

    def mounting(self, frame: str) -> SE3:
        """``base_SE3_sensor``; raises MotionUnavailableError."""
        ...

    def motion(self, stamp_ns: int) -> SE3:
        """``world_SE3_base``; raises MotionUnavailableError."""
        ...


def open_vehicle_poses(node: Node, params: MotionParams) -> VehiclePoses:
    """The ones that ``motion_source`` names; where sensors are mounted is known even where that is ``none``."""
    if params.motion_source == "odometry":
        return OdometryMotion(node, params)
    if params.motion_source == "tf":
        return TfMotion(node, params)
    return StandingStill(node, params.base_frame)


class NoMotion:
    """For a model that asks for no pose."""

    inputs: tuple[Subscription, ...] = ()

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        raise MotionUnavailableError("no pose was thought to be needed")

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        pass

    def destroy(self) -> None:
        pass


class Mountings:
    """Where sensors are mounted, from /tf_static, for which /tf is not needed."""

    def __init__(self, node: Node, base_frame: str) -> None:
        self._node = node
        self._base_frame = base_frame
        self._buffer = tf2_ros.Buffer()
        self._subscription = node.create_subscription(
            TFMessage,
            "/tf_static",
            self._on_static_transforms,
            QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )

    def mounting(self, frame: str) -> SE3:
        """``base_SE3_sensor``; raises MotionUnavailableError."""
        return _mounting(self._buffer, self._base_frame, frame, "/tf_static")

    def destroy(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _on_static_transforms(self, msg: TFMessage) -> None:
        for transform in msg.transforms:
            self._buffer.set_transform_static(transform, self._node.get_name())


class StandingStill(Mountings):
    """Sensors in their places on a vehicle whose motion nobody knows.

    For a model that merges sweeps this is a fault the user chose, and the diagnostics go on saying so.
    """

    inputs: tuple[Subscription, ...] = ()

    def motion(self, stamp_ns: int) -> SE3:
        raise MotionUnavailableError("sweeps are to be merged, but motion_source is 'none'")

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        return SensorPose(self.motion(stamp_ns), self.mounting(lidar_frame))

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        pass


class OdometryMotion(Mountings):
    """Poses of ``base_frame`` from odometry; the sensors' mounting poses from /tf_static."""

    def __init__(self, node: Node, params: MotionParams) -> None:
        super().__init__(node, params.base_frame)
        self._timeout_s = params.motion_timeout_s
        self._track = OdometryTrack()
        self._foreign_child_frame = ""
        self.inputs: tuple[Subscription, ...] = (
            node.create_subscription(
                Odometry,
                "~/input/odometry",
                self._on_odometry,
                QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            ),
        )

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        # The motion first: where both are missing, it is the one that comes and goes.
        return SensorPose(self.motion(stamp_ns), self.mounting(lidar_frame))

    def motion(self, stamp_ns: int) -> SE3:
        if self._foreign_child_frame:
            raise MotionUnavailableError(
                f"odometry is of '{self._foreign_child_frame}', but base_frame is '{self._base_frame}'; make them equal"
            )
        return self._track.at(stamp_ns, timeout_s=self._timeout_s)

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        self._track.time_jumped_back_to(stamp_ns)

    def destroy(self) -> None:
        super().destroy()
        for subscription in self.inputs:
            self._node.destroy_subscription(subscription)

    def _on_odometry(self, msg: Odometry) -> None:
        self._foreign_child_frame = "" if msg.child_frame_id == self._base_frame else msg.child_frame_id or "(empty)"
        try:
            pose = pose_from_message(msg.pose.pose)
        except ValueError as error:
            self._node.get_logger().warning(f"odometry left out: {error}", throttle_duration_sec=5.0)
            return
        self._track.add(stamp_ns(msg.header), pose)


class TfMotion:
    """Everything from TF: the LiDAR's pose in ``odom_frame`` straight, whatever lies between."""

    inputs: tuple[Subscription, ...] = ()

    def __init__(self, node: Node, params: MotionParams) -> None:
        self._base_frame = params.base_frame
        self._odom_frame = params.odom_frame
        self._timeout_s = params.motion_timeout_s
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        return SensorPose(self._in_odom(lidar_frame, stamp_ns), SE3.identity())

    def mounting(self, frame: str) -> SE3:
        return _mounting(self._buffer, self._base_frame, frame, "/tf_static or /tf")

    def motion(self, stamp_ns: int) -> SE3:
        return self._in_odom(self._base_frame, stamp_ns)

    def _in_odom(self, frame: str, stamp_ns: int) -> SE3:
        def look_up() -> SE3:
            transform = self._buffer.lookup_transform(self._odom_frame, frame, Time(nanoseconds=stamp_ns))
            return transform_from_message(transform.transform)

        return poll(look_up, tf2_ros.TransformException, timeout_s=self._timeout_s)

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        # tf2 ignores older data until it is cleared; static transforms outlive that.
        self._buffer.clear()

    def destroy(self) -> None:
        self._listener.unregister()


def _mounting(buffer: tf2_ros.Buffer, base_frame: str, frame: str, where: str) -> SE3:
    try:
        return transform_from_message(buffer.lookup_transform(base_frame, frame, Time()).transform)
    except tf2_ros.TransformException as error:
        raise MotionUnavailableError(
            f"no transform from '{base_frame}' to the sensor's frame '{frame}' on {where} ({error})"
        ) from None
