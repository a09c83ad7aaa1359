"""KITTI's object classes, and what they stand for among the ten nuScenes classes and Waymo's three.

Source: the readme of the object development kit. What is ambiguous: KITTI's *Truck* holds lorries and buses of any
make; it becomes ``truck``. *Tram* and *Misc* (trailers, segways, …) have no class among the ten. A *Cyclist* is the
ridden bicycle with its rider, as nuScenes draws it; parked bicycles are not labelled.
"""

from __future__ import annotations

KITTI_CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
"""All labels with a box; ``DontCare`` marks regions of the picture and has none."""

TRACKING_NAMES = {"Person": "Person_sitting"}
"""Names of the tracking benchmark's label files that its readme has otherwise."""

KITTI_TO_NUSCENES = {
    "Car": "car",
    "Van": "car",
    "Truck": "truck",
    "Pedestrian": "pedestrian",
    "Person_sitting": "pedestrian",
    "Cyclist": "bicycle",
}

KITTI_TO_WAYMO = {
    "Car": "vehicle",
    "Van": "vehicle",
    "Truck": "vehicle",
    "Tram": "vehicle",
    "Pedestrian": "pedestrian",
    "Person_sitting": "pedestrian",
    "Cyclist": "cyclist",
}
