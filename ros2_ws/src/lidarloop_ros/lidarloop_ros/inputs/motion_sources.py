"""The ROS side of ego-motion: nav_msgs/Odometry, TF, or none."""

from __future__ import annotations

import threading
from functools import partial
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
from lidarloop_core.io.constant_edges import ConstantEdges
from lidarloop_core.io.messages import frame_name, pose_from_message, stamp_ns, transform_from_message
from lidarloop_ros.inputs.motion import MotionUnavailableError, OdometryTrack, SensorPose, poll
from lidarloop_ros.inputs.motion_params import MotionParams
from lidarloop_ros.inputs.plausibility import PlausibleMotion
from lidarloop_ros.inputs.stamps import TIME_JUMP_NS

# builtin_interfaces/Time holds seconds as int32.
_LATEST_NS = 2**31 * 1_000_000_000


class MotionSource(Protocol):
    """Source of the LiDAR's pose. The working thread calls ``locate``, the executor's the subscriptions.

    Attributes:
        inputs: subscriptions whose publishers are checked.
    """

    inputs: tuple[Subscription, ...]

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        """The LiDAR's pose at a stamp; raises MotionUnavailableError."""
        ...

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        """Drops what it knows of later times: a recording starts over at ``stamp_ns``."""
        ...

    def destroy(self) -> None:
        """Ends the subscriptions."""
        ...


class VehiclePoses(MotionSource, Protocol):
    """A source that also gives both parts of a sensor's pose apart, for several sensors on one vehicle."""

    def mounting(self, frame: str) -> SE3:
        """``base_SE3_sensor`` of the sensor with this frame; raises MotionUnavailableError."""
        ...

    def motion(self, stamp_ns: int) -> SE3:
        """``world_SE3_base`` at a time in nanoseconds; raises MotionUnavailableError."""
        ...


def open_vehicle_poses(node: Node, params: MotionParams) -> VehiclePoses:
    """The source that ``params.motion_source`` names; mounting poses are known even where that is ``none``."""
    if params.motion_source == "odometry":
        return OdometryMotion(node, params)
    if params.motion_source == "tf":
        return TfMotion(node, params)
    return StandingStill(node, params.base_frame)


class NoMotion:
    """The source for a model that needs no pose."""

    inputs: tuple[Subscription, ...] = ()

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        """Raises MotionUnavailableError."""
        raise MotionUnavailableError("the model needs no pose, so none is received")

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        pass

    def destroy(self) -> None:
        pass


class Mountings:
    """Mounting poses of sensors from /tf_static, and where that lacks one, from what stays the same on /tf."""

    def __init__(self, node: Node, base_frame: str) -> None:
        self._node = node
        self._base_frame = frame_name(base_frame)
        self._edges = ConstantEdges()
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        add_static = partial(self._add, is_static=True)
        self._subscriptions = [node.create_subscription(TFMessage, "/tf_static", add_static, latched)]

    def mounting(self, frame: str) -> SE3:
        """``base_SE3_sensor`` of the sensor with this frame; raises MotionUnavailableError."""
        frame = frame_name(frame)
        try:
            with self._lock:
                pose, is_on_tf = (
                    self._edges.between(self._base_frame, frame),
                    self._edges.on_tf(self._base_frame, frame),
                )
        except LookupError as error:
            self._listen_to_tf()
            raise MotionUnavailableError(_no_mounting(self._base_frame, frame, "/tf_static", error)) from None
        if is_on_tf and frame not in self._warned:
            self._warned.add(frame)
            self._node.get_logger().warning(
                f"the pose of '{frame}' in '{self._base_frame}' is on /tf alone; it does not change, so it is taken as "
                "a mounting pose. Publish it on /tf_static"
            )
        return pose

    def destroy(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _listen_to_tf(self) -> None:
        """Only where /tf_static does not suffice: /tf is busy, and each of its messages takes the executor's time."""
        if len(self._subscriptions) == 1:
            add = partial(self._add, is_static=False)
            self._subscriptions.append(self._node.create_subscription(TFMessage, "/tf", add, QoSProfile(depth=100)))

    def _add(self, msg: TFMessage, *, is_static: bool) -> None:
        with self._lock:
            self._edges.add(msg, is_static=is_static)


class StandingStill(Mountings):
    """Mounting poses of the sensors, and no ego-motion: ``motion_source: none``.

    With a model that merges sweeps the diagnostics warn as long as this is so.
    """

    inputs: tuple[Subscription, ...] = ()

    def motion(self, stamp_ns: int) -> SE3:
        """Raises MotionUnavailableError."""
        raise MotionUnavailableError("sweeps are to be merged, but motion_source is 'none'")

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        return SensorPose(self.motion(stamp_ns), self.mounting(lidar_frame))

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        pass


class OdometryMotion(Mountings):
    """Motion of ``base_frame`` from odometry, mounting poses of the sensors from /tf_static."""

    def __init__(self, node: Node, params: MotionParams) -> None:
        super().__init__(node, params.base_frame)
        self._timeout_s = params.motion_timeout_s
        self._track = OdometryTrack()
        self._plausible = PlausibleMotion(params.motion_limits)
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
        # The motion first: where both are missing, it is the one more likely to be a temporary fault.
        world_SE3_ego = self.motion(stamp_ns)
        self._plausible.require(stamp_ns, world_SE3_ego)
        return SensorPose(world_SE3_ego, self.mounting(lidar_frame))

    def motion(self, stamp_ns: int) -> SE3:
        """``odom_SE3_base`` at a time in nanoseconds; raises MotionUnavailableError."""
        if self._foreign_child_frame:
            raise MotionUnavailableError(
                f"the odometry's child frame is '{self._foreign_child_frame}', but base_frame is '{self._base_frame}'; "
                "make them equal"
            )
        return self._track.at(stamp_ns, timeout_s=self._timeout_s)

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        self._track.time_jumped_back_to(stamp_ns)
        self._plausible.clear()

    def destroy(self) -> None:
        super().destroy()
        for subscription in self.inputs:
            self._node.destroy_subscription(subscription)

    def _on_odometry(self, msg: Odometry) -> None:
        child_frame = frame_name(msg.child_frame_id)
        self._foreign_child_frame = "" if child_frame == self._base_frame else child_frame or "(empty)"
        try:
            pose = pose_from_message(msg.pose.pose)
        except ValueError as error:
            self._node.get_logger().warning(f"odometry left out: {error}", throttle_duration_sec=5.0)
            return
        if problem := self._track.add(stamp_ns(msg.header), pose):
            self._node.get_logger().warning(problem, throttle_duration_sec=5.0)


class TfMotion:
    """Motion and mounting poses from TF; the LiDAR's pose in ``odom_frame`` is looked up directly."""

    inputs: tuple[Subscription, ...] = ()

    def __init__(self, node: Node, params: MotionParams) -> None:
        self._base_frame = frame_name(params.base_frame)
        self._odom_frame = frame_name(params.odom_frame)
        self._timeout_s = params.motion_timeout_s
        self._plausible = PlausibleMotion(params.motion_limits)
        self._newest_ns = 0
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        odom_SE3_lidar = self._in_odom(frame_name(lidar_frame), stamp_ns)
        self._plausible.require(stamp_ns, odom_SE3_lidar)
        return SensorPose(odom_SE3_lidar, SE3.identity())

    def mounting(self, frame: str) -> SE3:
        """``base_SE3_sensor`` of the sensor with this frame; raises MotionUnavailableError."""
        frame = frame_name(frame)
        if frame == self._base_frame:
            return SE3.identity()
        try:
            return transform_from_message(self._buffer.lookup_transform(self._base_frame, frame, Time()).transform)
        except tf2_ros.TransformException as error:
            raise MotionUnavailableError(_no_mounting(self._base_frame, frame, "/tf_static or /tf", error)) from None

    def motion(self, stamp_ns: int) -> SE3:
        """``odom_SE3_base`` at a time in nanoseconds; raises MotionUnavailableError."""
        return self._in_odom(self._base_frame, stamp_ns)

    def _in_odom(self, frame: str, stamp_ns: int) -> SE3:
        if not 0 <= stamp_ns < _LATEST_NS:
            raise MotionUnavailableError(f"the stamp {stamp_ns} ns is no time that a message can hold")

        def look_up() -> SE3:
            transform = self._buffer.lookup_transform(self._odom_frame, frame, Time(nanoseconds=stamp_ns))
            return transform_from_message(transform.transform)

        self._newest_ns = max(self._newest_ns, stamp_ns)
        return poll(look_up, tf2_ros.TransformException, timeout_s=self._timeout_s)

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        # tf2 ignores older data until it is cleared; static transforms stay. Disorder of a few milliseconds is no jump:
        # to clear for it would take the ego-motion from the clouds that come in order.
        if stamp_ns < self._newest_ns - TIME_JUMP_NS:
            self._buffer.clear()
            self._plausible.clear()
            self._newest_ns = 0

    def destroy(self) -> None:
        self._listener.unregister()


def _no_mounting(base_frame: str, frame: str, where: str, error: Exception) -> str:
    return f"no transform from '{base_frame}' to the sensor's frame '{frame}' on {where} ({error})"
