"""The vocabulary of the nuScenes tables: categories, attributes, visibility levels, and the ten classes they stand for.

Source: the schema of nuScenes v1.0 and the detection task's class mapping (nuscenes.org, "Object detection task").
"""

from __future__ import annotations

import math

from lidarloop_core.classes import NUSCENES_CLASSES

CATEGORY_TO_CLASS = {
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
"""Categories of the detection task; every other category (animals, strollers, debris, …) has no box in it."""

NOT_OF_THE_TASK = frozenset(
    {
        "animal",
        "human.pedestrian.personal_mobility",
        "human.pedestrian.stroller",
        "human.pedestrian.wheelchair",
        "movable_object.debris",
        "movable_object.pushable_pullable",
        "static_object.bicycle_rack",
        "vehicle.emergency.ambulance",
        "vehicle.emergency.police",
    }
)
"""nuScenes' own categories that the detection task does not have."""

CLASS_TO_CATEGORY = {
    "barrier": "movable_object.barrier",
    "bicycle": "vehicle.bicycle",
    "bus": "vehicle.bus.rigid",
    "car": "vehicle.car",
    "construction_vehicle": "vehicle.construction",
    "motorcycle": "vehicle.motorcycle",
    "pedestrian": "human.pedestrian.adult",
    "traffic_cone": "movable_object.trafficcone",
    "trailer": "vehicle.trailer",
    "truck": "vehicle.truck",
}
"""The category a class is written as: the commonest of those that map to it."""

assert set(CLASS_TO_CATEGORY) == set(NUSCENES_CLASSES)

ATTRIBUTES = {
    "vehicle.moving": "The vehicle is moving.",
    "vehicle.parked": "The vehicle stands and does not move during the drive.",
    "vehicle.stopped": "The vehicle stands now and moves at another time of the drive.",
    "pedestrian.moving": "The pedestrian is moving.",
    "pedestrian.standing": "The pedestrian stands still.",
    "cycle.with_rider": "Somebody rides the bicycle or motorcycle.",
    "cycle.without_rider": "Nobody rides the bicycle or motorcycle.",
}

MOVING_ABOVE_MPS = 0.5

VISIBILITY_LEVELS = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
_LEVEL_LOWER_BOUNDS = (("4", 0.8), ("3", 0.6), ("2", 0.4), ("1", 0.0))
_LEVEL_CENTRES = {"1": 0.2, "2": 0.5, "3": 0.7, "4": 0.9}


def attribute_of(class_name: str, *, is_moving: bool, ever_moves: bool) -> str | None:
    """The attribute of a box; None for the classes that have none (cones and barriers).

    A cycle that moves at any time of the drive is taken to have its rider throughout.
    """
    if class_name in ("traffic_cone", "barrier"):
        return None
    if class_name == "pedestrian":
        return "pedestrian.moving" if is_moving else "pedestrian.standing"
    if class_name in ("bicycle", "motorcycle"):
        return "cycle.with_rider" if ever_moves else "cycle.without_rider"
    if is_moving:
        return "vehicle.moving"
    return "vehicle.stopped" if ever_moves else "vehicle.parked"


def visibility_token(visible_share: float) -> str:
    """The level's token for a share in [0, 1]; empty where the share is NaN, i.e. unknown."""
    if math.isnan(visible_share):
        return ""
    return next(token for token, lower in _LEVEL_LOWER_BOUNDS if visible_share >= lower or token == "1")


def visible_share(visibility_token: str) -> float:
    """The middle of the level; NaN for the empty token."""
    return _LEVEL_CENTRES.get(visibility_token, math.nan)
