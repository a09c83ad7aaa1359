"""A lane map as JSON: the content of the std_msgs/String in bags and on the latched topic."""

from __future__ import annotations

from typing import Any

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.sample import LaneMap


def lane_map_json(lane_map: LaneMap, frame_id: str) -> dict[str, Any]:
    """Lines and polygons in metres, in ``frame_id``."""
    crossings = lane_map.in_intersection or (None,) * len(lane_map.lane_ids)
    lanes = [
        {"id": lane_id, "centerline": line.tolist(), "in_intersection": crossing}
        for lane_id, line, crossing in zip(lane_map.lane_ids, lane_map.centerlines, crossings, strict=True)
    ]
    return {
        "frame_id": frame_id,
        "lanes": lanes,
        "drivable_area": [polygon.tolist() for polygon in lane_map.drivable_area],
    }


def lane_map_from_json(raw: dict[str, Any], topic: str) -> LaneMap:
    """The inverse of ``lane_map_json``; ``topic`` is its source, for the error.

    Raises:
        DatasetError: an entry is missing or malformed.
    """
    try:
        crossings = [lane.get("in_intersection") for lane in raw["lanes"]]
        return LaneMap(
            tuple(np.array(lane["centerline"], dtype=np.float64).reshape(-1, 3) for lane in raw["lanes"]),
            tuple(lane["id"] for lane in raw["lanes"]),
            tuple(np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in raw["drivable_area"]),
            tuple(map(bool, crossings)) if crossings and None not in crossings else (),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DatasetError(
            f"{topic} holds JSON that is no lane map ({type(error).__name__}: {error}); "
            "expected lanes with id and centerline, and drivable_area"
        ) from None
