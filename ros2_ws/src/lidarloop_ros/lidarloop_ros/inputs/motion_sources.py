"""The ROS side of ego-motion: odometry, TF, poses, velocities, or none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tf2_ros
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TwistStamped, TwistWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.time import Time
from sensor_msgs.msg import Imu
from tf2_msgs.msg import TFMessage

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.constant_edges import ConstantEdges
from lidarloop_core.io.messages import frame_name, pose_from_message, stamp_ns, transform_from_message
from lidarloop_ros.inputs.dead_reckoning import DeadReckoning
from lidarloop_ros.inputs.motion import (
    ImplausibleMotionError,
    MotionUnavailableError,
    OdometryTrack,
    SensorPose,
    poll,
)
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
    if params.motion_source == "none":
        return StandingStill(node, params.base_frame)
    return _SOURCES[params.motion_source](node, params)


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


class TrackMotion(Mountings):
    """Motion of ``base_frame`` from poses that messages give, mounting poses of the sensors from /tf_static.

    Args:
        node: owns the subscriptions.
        params: frames, time-out and limits.
        topic: topic of the poses, for messages.
    """

    inputs: tuple[Subscription, ...] = ()

    def __init__(self, node: Node, params: MotionParams, topic: str) -> None:
        super().__init__(node, params.base_frame)
        self._timeout_s = params.motion_timeout_s
        self._topic = topic
        self._track = OdometryTrack(topic)
        self._plausible = PlausibleMotion(params.motion_limits)
        self._foreign_frame = ""

    def locate(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        # The motion first: where both are missing, it is the one more likely to be a temporary fault.
        world_SE3_ego = self.motion(stamp_ns)
        self._plausible.require(stamp_ns, world_SE3_ego)
        return SensorPose(world_SE3_ego, self.mounting(lidar_frame))

    def motion(self, stamp_ns: int) -> SE3:
        """``odom_SE3_base`` at a time in nanoseconds; raises MotionUnavailableError."""
        if self._foreign_frame:
            raise MotionUnavailableError(
                f"{self._topic} is about the frame '{self._foreign_frame}', but base_frame is '{self._base_frame}'; "
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

    def _subscribe(self, message: type, topic: str, callback: Callable[[Any], None]) -> Subscription:
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        overriding = QoSOverridingOptions.with_default_policies()
        return self._node.create_subscription(message, topic, callback, qos, qos_overriding_options=overriding)

    def _require_frame(self, frame_id: str) -> None:
        """Notes whether messages are about the vehicle's frame."""
        frame = frame_name(frame_id)
        self._foreign_frame = "" if frame == self._base_frame else frame or "(empty)"

    def _add_pose(self, pose_message: Any, header: Any) -> None:
        try:
            pose = pose_from_message(pose_message)
        except ValueError as error:
            self._warn(f"a pose on {self._topic} left out: {error}")
            return
        self._add_to_track(stamp_ns(header), pose)

    def _add_to_track(self, at_ns: int, world_SE3_ego: SE3) -> None:
        if problem := self._track.add(at_ns, world_SE3_ego):
            self._warn(problem)

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=5.0)


class OdometryMotion(TrackMotion):
    """Motion from nav_msgs/Odometry on ``~/input/odometry``."""

    def __init__(self, node: Node, params: MotionParams) -> None:
        super().__init__(node, params, "~/input/odometry")
        self.inputs = (self._subscribe(Odometry, "~/input/odometry", self._on_odometry),)

    def _on_odometry(self, msg: Odometry) -> None:
        self._require_frame(msg.child_frame_id)
        self._add_pose(msg.pose.pose, msg.header)


class PoseMotion(TrackMotion):
    """Motion from the poses of a GNSS/INS or a localisation, of ``base_frame`` in any frame that stands still.

    geometry_msgs/PoseStamped on ``~/input/pose``, or PoseWithCovarianceStamped.
    """

    def __init__(self, node: Node, params: MotionParams) -> None:
        super().__init__(node, params, "~/input/pose")
        message = PoseWithCovarianceStamped if params.motion_with_covariance else PoseStamped
        self.inputs = (self._subscribe(message, "~/input/pose", self._on_pose),)

    def _on_pose(self, msg: PoseStamped | PoseWithCovarianceStamped) -> None:
        self._add_pose(msg.pose.pose if isinstance(msg, PoseWithCovarianceStamped) else msg.pose, msg.header)


class TwistMotion(TrackMotion):
    """Motion by dead reckoning from the vehicle's velocity, its turning from an IMU where that is wanted.

    geometry_msgs/TwistStamped on ``~/input/twist``, or TwistWithCovarianceStamped, in ``base_frame``; sensor_msgs/Imu
    on ``~/input/imu`` in a frame that /tf_static has.
    """

    def __init__(self, node: Node, params: MotionParams) -> None:
        needs_imu = params.motion_source == "twist_imu"
        super().__init__(node, params, "~/input/twist with ~/input/imu" if needs_imu else "~/input/twist")
        self._reckoning = DeadReckoning(turns_by_imu=needs_imu)
        self._imu_problem = ""
        message = TwistWithCovarianceStamped if params.motion_with_covariance else TwistStamped
        self.inputs = (self._subscribe(message, "~/input/twist", self._on_twist),)
        if needs_imu:
            self.inputs += (self._subscribe(Imu, "~/input/imu", self._on_imu),)

    def motion(self, stamp_ns: int) -> SE3:
        """``odom_SE3_base`` at a time in nanoseconds; raises MotionUnavailableError."""
        if pause_s := self._reckoning.take_pause():
            raise ImplausibleMotionError(f"{self._topic} paused for {pause_s:.1f} s: the way since then is unknown")
        if self._imu_problem:
            raise MotionUnavailableError(self._imu_problem)
        return super().motion(stamp_ns)

    def _on_twist(self, msg: TwistStamped | TwistWithCovarianceStamped) -> None:
        self._require_frame(msg.header.frame_id)
        twist = msg.twist.twist if isinstance(msg, TwistWithCovarianceStamped) else msg.twist
        linear_mps, angular_radps = _vector(twist.linear), _vector(twist.angular)
        if not np.isfinite([linear_mps, angular_radps]).all():
            self._warn("a velocity left out, for it is not finite; check its source")
            return
        self._add_reckoned(msg.header, self._reckoning.add_twist(stamp_ns(msg.header), linear_mps, angular_radps))

    def _on_imu(self, msg: Imu) -> None:
        angular_radps = _vector(msg.angular_velocity)
        if not np.isfinite(angular_radps).all():
            self._warn("a rate of turning on ~/input/imu left out, for it is not finite; check the IMU")
            return
        try:
            turn = self.mounting(msg.header.frame_id).rotation @ angular_radps
        except MotionUnavailableError as error:
            self._imu_problem = str(error)
            return
        self._imu_problem = ""
        self._add_reckoned(msg.header, self._reckoning.add_turn(stamp_ns(msg.header), turn))

    def _add_reckoned(self, header: Any, pose: SE3 | None) -> None:
        if pose is not None:
            self._add_to_track(stamp_ns(header), pose)


def _vector(message: Any) -> npt.NDArray[np.float64]:
    """A geometry_msgs/Vector3 as (3,)."""
    return np.array([message.x, message.y, message.z])


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


_SOURCES: dict[str, Callable[[Node, MotionParams], VehiclePoses]] = {
    "odometry": OdometryMotion,
    "tf": TfMotion,
    "pose": PoseMotion,
    "twist": TwistMotion,
    "twist_imu": TwistMotion,
}
