"""Odometry and TF as the nodes get them: hostile poses, stamps and names among sound ones."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import domain_coordinator
import numpy as np
import rclpy
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage

from lidarloop_core.errors import LidarloopError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.bag import message_type, typestore
from lidarloop_core.io.messages import odometry_message, transforms_message
from lidarloop_ros.inputs.motion import MotionUnavailableError
from lidarloop_ros.inputs.motion_params import MotionParams
from lidarloop_ros.inputs.motion_sources import open_vehicle_poses
from tests.fuzz.ros_messages import hostile

STAMP_NS = 1_700_000_000_000_000_000
STEP_NS = 20_000_000


class MotionRefused(LidarloopError):
    """The node goes on with the newest sweep alone, and says why."""


def case(rng: Random, folder: Path) -> Callable[[], object]:
    source = rng.choice(("odometry", "tf"))
    messages = [_static()]
    for i in range(30):
        pose = SE3.from_yaw(0.02 * i, (0.2 * i, 0.0, 0.0))
        moved = _odometry(pose, STAMP_NS + i * STEP_NS) if source == "odometry" else _tf(pose, STAMP_NS + i * STEP_NS)
        messages.append(moved)
    for i in rng.sample(range(len(messages)), rng.choice((1, 2, 15))):
        messages[i] = hostile(rng, copy.deepcopy(messages[i]))
    if rng.random() < 0.2:
        rng.shuffle(messages)
    ready = [_as_rclpy(message) for message in messages]
    stamps = [STAMP_NS + i * STEP_NS for i in rng.sample(range(30), 3)] + [rng.choice((0, 2**62, STAMP_NS + 10**9))]
    return lambda: _locate(source, ready, stamps)


def _odometry(pose: SE3, stamp_ns: int) -> Any:
    return odometry_message(pose, (10, 0, 0), (0, 0, 1), stamp_ns, message_type)


def _tf(pose: SE3, stamp_ns: int) -> Any:
    return transforms_message([("odom", "base_link", pose)], stamp_ns, message_type)


@cache
def _static() -> Any:
    return transforms_message([("base_link", "lidar_top", SE3.from_yaw(0.1, (1, 0, 2)))], STAMP_NS, message_type)


def _as_rclpy(message: Any) -> Any:
    raw = bytes(typestore_of_process().serialize_cdr(message, message.__msgtype__))
    return deserialize_message(raw, Odometry if "Odometry" in message.__msgtype__ else TFMessage)


@cache
def typestore_of_process() -> Any:
    return typestore()


@contextmanager
def _node() -> Iterator[Node]:
    with domain_coordinator.domain_id() as domain:
        context = Context()
        rclpy.init(args=[], context=context, domain_id=domain)
        node = Node("fuzzed", context=context, use_global_arguments=False)
        try:
            yield node
        finally:
            node.destroy_node()
            rclpy.shutdown(context=context)


def _locate(source: str, messages: list[Any], stamps: list[int]) -> None:
    params = dataclasses.replace(MotionParams(), motion_source=source, motion_timeout_s=0.0)
    with _node() as node:
        motion = open_vehicle_poses(node, params)
        callbacks = {subscription.topic_name: subscription.callback for subscription in node.subscriptions}
        refusals = []
        for message in messages:
            for topic, callback in callbacks.items():
                if ("odometry" in topic) == isinstance(message, Odometry):
                    callback(message)
        for stamp_ns in stamps:
            try:
                pose = motion.locate(stamp_ns, "lidar_top")
                assert np.isfinite((pose.world_SE3_ego @ pose.ego_SE3_lidar).matrix).all()
            except MotionUnavailableError as error:
                refusals.append(str(error))
        motion.destroy()
    if refusals:
        raise MotionRefused(refusals[0])
