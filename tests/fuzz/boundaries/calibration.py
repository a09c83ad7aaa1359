"""Calibration: sensor_msgs/CameraInfo with any numbers, sizes and lens models, and static transforms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np

from lidarloop_core.io.camera_messages import MessagePicture, calibration_from_message, camera_info_topic, camera_name
from lidarloop_core.io.images import encode_jpeg
from lidarloop_training.data.bag.frame_tree import FrameTree
from tests.fuzz import mutate, trees
from tests.fuzz.ros_messages import first_on, hostile

TOPICS = ("/camera/cam_front/image", "/cam/image_rect/compressed", "/", "", "image", "/a/../../../b/image", "/é/image")
LENSES = ("plumb_bob", "rational_polynomial", "equidistant", "", "x" * 3000)


def case(rng: Random, folder: Path) -> Callable[[], object]:
    if rng.random() < 0.3:
        transforms = [hostile(rng, first_on("/tf_static")) for _ in range(rng.choice((1, 2)))]
        frames = rng.choice(("lidar_top", "/lidar_top", "nowhere", "")), "base_link"
        return lambda: FrameTree(enumerate(transforms)).transform(frames[1], frames[0], Path("a.mcap"))
    info = hostile(rng, first_on("/camera/cam_front/camera_info"))
    if rng.random() < 0.4:
        numbers = rng.choice((0, 1, 4, 5, 7, 8, 12, 14, 300))
        coefficients = np.array([rng.choice((0.0, 0.1, -3.0, mutate.number(rng))) for _ in range(numbers)], np.float64)
        info.d, info.distortion_model = coefficients, rng.choice(LENSES)
    topic = rng.choice((TOPICS[0], TOPICS[0], *TOPICS))
    return lambda: _rectify(info, topic)


def _rectify(info: Any, topic: str) -> None:
    camera_info_topic(topic), camera_name(topic)
    calibration = calibration_from_message(info, topic)
    pixels = np.asarray(trees.picture())
    MessagePicture(SimpleNamespace(format="jpeg", data=encode_jpeg(pixels).data), calibration)()
