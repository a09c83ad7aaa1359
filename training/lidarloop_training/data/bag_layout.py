"""Topics, frames and JSON of the bags we write: what ``bag_writer`` and ``bag`` agree on."""

from __future__ import annotations

from typing import Any

import numpy as np

from lidarloop_core.errors import BagError
from lidarloop_core.sample import LaneMap

POINTS = "/lidar/points"
ODOMETRY = "/odom"
TF = "/tf"
TF_STATIC = "/tf_static"
LANE_MAP = "/lane_map"
GROUND_TRUTH_DETECTIONS = "/ground_truth/detections"
GROUND_TRUTH_BOXES = "/ground_truth/boxes"
GROUND_TRUTH_CLASS_NAMES = "/ground_truth/class_names"
PROVENANCE = "/lidarloop/provenance"
"""Latched JSON: what the bag was made from. Only we write it, so it also says that a bag is ours."""

WORLD_FRAME = "odom"
EGO_FRAME = "base_link"
LIDAR_FRAME = "lidar_top"


def image_topic(camera: str) -> str:
    return f"/camera/{camera.lower()}/image/compressed"


def camera_info_topic(image_topic: str) -> str:
    """Beside the image topic, where image_transport puts it."""
    return f"{image_topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info"


def camera_name(image_topic: str) -> str:
    """The namespace of the image topic in capitals, e.g. ``CAM_FRONT`` of ``/camera/cam_front/image/compressed``."""
    return image_topic.removesuffix("/compressed").rpartition("/")[0].rpartition("/")[2].upper()


def camera_frame(camera: str) -> str:
    """The camera's optical frame: x right, y down, z forward."""
    return f"{camera.lower()}_optical"


def lane_map_json(lane_map: LaneMap) -> dict[str, Any]:
    """What ``LANE_MAP`` carries: lines and polygons in metres, in ``WORLD_FRAME``."""
    lanes = [
        {"id": lane_id, "centerline": line.tolist()}
        for lane_id, line in zip(lane_map.lane_ids, lane_map.centerlines, strict=True)
    ]
    return {
        "frame_id": WORLD_FRAME,
        "lanes": lanes,
        "drivable_area": [polygon.tolist() for polygon in lane_map.drivable_area],
    }


def lane_map_from_json(raw: dict[str, Any]) -> LaneMap:
    """The inverse of ``lane_map_json``.

    Raises:
        BagError: an entry is missing or malformed.
    """
    try:
        return LaneMap(
            tuple(np.array(lane["centerline"], dtype=np.float64).reshape(-1, 3) for lane in raw["lanes"]),
            tuple(lane["id"] for lane in raw["lanes"]),
            tuple(np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in raw["drivable_area"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BagError(
            f"{LANE_MAP} holds JSON that is no lane map ({type(error).__name__}: {error}); "
            "expected lanes with id and centerline, and drivable_area"
        ) from None
