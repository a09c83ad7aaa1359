"""Topics, frames and JSON of the bags we write: what reader and writer agree on."""

from __future__ import annotations

from lidarloop_core.io.outside import topic_part

POINTS = "/lidar/points"
ODOMETRY = "/odom"
TF = "/tf"
TF_STATIC = "/tf_static"
LANE_MAP = "/lane_map"
GROUND_TRUTH_DETECTIONS = "/ground_truth/detections"
GROUND_TRUTH_BOXES = "/ground_truth/boxes"
GROUND_TRUTH_CLASS_NAMES = "/ground_truth/class_names"
PROVENANCE = "/lidarloop/provenance"
"""Latched JSON: what the bag was made from. Only lidarloop writes it, so it marks the bags of lidarloop."""

WORLD_FRAME = "odom"
EGO_FRAME = "base_link"
LIDAR_FRAME = "lidar_top"


def image_topic(camera: str) -> str:
    """The topic of the camera's compressed images; what a topic may not have in the name is replaced."""
    return f"/camera/{topic_part(camera.lower())}/image/compressed"


def camera_frame(camera: str) -> str:
    """The camera's optical frame: x right, y down, z forward."""
    return f"{topic_part(camera.lower())}_optical"
