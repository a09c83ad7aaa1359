"""ONCE's five classes, and what they stand for among the ten nuScenes classes and Waymo's three.

Source: the class names of the official devkit, whose evaluation joins Car, Truck and Bus to *Vehicle*. What is
ambiguous: ONCE does not say which two-wheelers its *Cyclist* holds; it becomes ``bicycle``, and motorcycles among them
are taken for bicycles. The nuScenes classes trailer, construction_vehicle, motorcycle, traffic_cone and barrier do not
occur.
"""

from __future__ import annotations

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_training.data.waymo.classes import WAYMO_CLASSES

ONCE_CLASSES = ("Car", "Bus", "Truck", "Pedestrian", "Cyclist")

ONCE_TO_NUSCENES = {
    "Car": "car",
    "Bus": "bus",
    "Truck": "truck",
    "Pedestrian": "pedestrian",
    "Cyclist": "bicycle",
}

ONCE_TO_WAYMO = {
    "Car": "vehicle",
    "Bus": "vehicle",
    "Truck": "vehicle",
    "Pedestrian": "pedestrian",
    "Cyclist": "cyclist",
}

assert set(ONCE_TO_NUSCENES) == set(ONCE_TO_WAYMO) == set(ONCE_CLASSES)
assert set(ONCE_TO_NUSCENES.values()) <= set(NUSCENES_CLASSES)
assert set(ONCE_TO_WAYMO.values()) == set(WAYMO_CLASSES)
