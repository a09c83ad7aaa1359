"""Argoverse 2's cuboid categories, and what they are in nuScenes' ten classes and in Waymo's three.

Source: the taxonomy of the Argoverse 2 Sensor Dataset (argoverse.github.io/user-guide, "Sensor Dataset, Taxonomy").
Argoverse gives a cycle and the person on it a cuboid each. nuScenes has one box for both, of the cycle's class: there
the rider is left out. Waymo labels ridden cycles only, as cyclists: there the cycle is left out.
"""

from __future__ import annotations

AV2_CATEGORIES = (
    "REGULAR_VEHICLE", "LARGE_VEHICLE", "BUS", "BOX_TRUCK", "TRUCK", "MOTORCYCLE", "VEHICULAR_TRAILER", "TRUCK_CAB",
    "SCHOOL_BUS", "ARTICULATED_BUS", "RAILED_VEHICLE", "PEDESTRIAN", "OFFICIAL_SIGNALER", "BICYCLE", "BICYCLIST",
    "MOTORCYCLIST", "WHEELED_DEVICE", "WHEELED_RIDER", "WHEELCHAIR", "STROLLER", "DOG", "ANIMAL", "BOLLARD",
    "CONSTRUCTION_CONE", "CONSTRUCTION_BARREL", "STOP_SIGN", "SIGN", "MESSAGE_BOARD_TRAILER",
    "MOBILE_PEDESTRIAN_CROSSING_SIGN", "TRAFFIC_LIGHT_TRAILER",
)  # fmt: skip

AV2_TO_NUSCENES = {
    "REGULAR_VEHICLE": "car",
    "LARGE_VEHICLE": "truck",  # extended vans, fire engines, motor homes
    "BOX_TRUCK": "truck",
    "TRUCK": "truck",
    "TRUCK_CAB": "truck",
    "VEHICULAR_TRAILER": "trailer",
    "BUS": "bus",
    "SCHOOL_BUS": "bus",
    "ARTICULATED_BUS": "bus",
    "MOTORCYCLE": "motorcycle",
    "BICYCLE": "bicycle",
    "PEDESTRIAN": "pedestrian",
    "OFFICIAL_SIGNALER": "pedestrian",
    "CONSTRUCTION_CONE": "traffic_cone",
}
"""What is not named has no box in nuScenes' detection task: riders (see above), wheeled devices and those on them,
wheelchairs, strollers, animals, rail vehicles, bollards, barrels, signs and the trailers that carry them. Argoverse has
no category for barriers, and its construction vehicles are among LARGE_VEHICLE."""

AV2_TO_WAYMO = {
    "REGULAR_VEHICLE": "vehicle",
    "LARGE_VEHICLE": "vehicle",
    "BOX_TRUCK": "vehicle",
    "TRUCK": "vehicle",
    "TRUCK_CAB": "vehicle",
    "VEHICULAR_TRAILER": "vehicle",
    "BUS": "vehicle",
    "SCHOOL_BUS": "vehicle",
    "ARTICULATED_BUS": "vehicle",
    "RAILED_VEHICLE": "vehicle",
    "MOTORCYCLE": "vehicle",
    "PEDESTRIAN": "pedestrian",
    "OFFICIAL_SIGNALER": "pedestrian",
    "WHEELED_RIDER": "pedestrian",
    "WHEELCHAIR": "pedestrian",
    "BICYCLIST": "cyclist",
}
"""Waymo's three classes. A motorcycle, ridden or not, is a vehicle of Waymo's."""
