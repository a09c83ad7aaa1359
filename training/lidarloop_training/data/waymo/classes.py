"""Waymo's labels, and what they stand for among the ten nuScenes classes and the other way round.

Source: ``BoxType`` of Waymo Open Dataset v2 and Waymo's labelling specifications. What is ambiguous:

- Waymo's *vehicle* is every road vehicle: cars, trucks, buses, trailers (a box of their own), construction vehicles,
  motorcycles with or without rider. It becomes ``car``, the commonest of them; the labels hold nothing more.
- Waymo's *cyclist* is a ridden bicycle with its rider, and becomes ``bicycle``. Parked bicycles are not labelled, so
  nuScenes' ``bicycle``, which includes them, becomes *cyclist* too: a detector that finds them pays with precision.
- *Signs* have no class among the ten and are not scored by the detection challenges: they are left out.
- ``traffic_cone`` and ``barrier`` have no class at Waymo.
"""

from __future__ import annotations

from lidarloop_core.classes import NUSCENES_CLASSES

BOX_TYPES = {1: "vehicle", 2: "pedestrian", 3: "sign", 4: "cyclist"}
"""The column ``[LiDARBoxComponent].type``; 0 is unknown."""

WAYMO_CLASSES = ("vehicle", "pedestrian", "cyclist")
"""The classes of Waymo's 3D detection challenge."""

WAYMO_TO_NUSCENES = {"vehicle": "car", "pedestrian": "pedestrian", "cyclist": "bicycle"}

NUSCENES_TO_WAYMO = {
    "car": "vehicle",
    "truck": "vehicle",
    "bus": "vehicle",
    "trailer": "vehicle",
    "construction_vehicle": "vehicle",
    "motorcycle": "vehicle",
    "pedestrian": "pedestrian",
    "bicycle": "cyclist",
}
"""Every nuScenes class that Waymo labels. Waymo → nuScenes → Waymo gives each class back."""

assert set(WAYMO_TO_NUSCENES.values()) <= set(NUSCENES_TO_WAYMO) <= set(NUSCENES_CLASSES)
