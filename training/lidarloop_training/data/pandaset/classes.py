"""PandaSet's classes of cuboids and points, and what they are in nuScenes' classes.

Source: the devkit's lists (labels of ``annotations/cuboids``, ``annotations/semseg/classes.json``). Doubtful cases:
nuScenes counts pick-ups among trucks. *Emergency Vehicle* may be a car or a lorry, *Other Vehicle - Uncommon* and
*Pedicab* anything: they have no class among the ten. *Pylons* and *Road Barriers* are posts and walls that may stand
for years, while nuScenes' cones and barriers are put up for a time: *Cones* and *Temporary Construction Barriers*.
"""

from __future__ import annotations

PANDASET_TO_NUSCENES = {
    "Car": "car",
    "Pickup Truck": "truck",
    "Medium-sized Truck": "truck",
    "Semi-truck": "truck",
    "Towed Object": "trailer",
    "Motorcycle": "motorcycle",
    "Motorized Scooter": "motorcycle",
    "Other Vehicle - Construction Vehicle": "construction_vehicle",
    "Bus": "bus",
    "Bicycle": "bicycle",
    "Pedestrian": "pedestrian",
    "Pedestrian with Object": "pedestrian",
    "Cones": "traffic_cone",
    "Temporary Construction Barriers": "barrier",
}
"""Label of a cuboid → one of nuScenes' ten classes. What is not named has none."""

POINT_CLASS_TO_LABEL_NAME = {
    **PANDASET_TO_NUSCENES,
    "Vegetation": "vegetation",
    "Ground": "terrain",
    "Road": "driveable_surface",
    "Lane Line Marking": "driveable_surface",
    "Stop Line Marking": "driveable_surface",
    "Other Road Marking": "driveable_surface",
    "Driveway": "driveable_surface",
    "Sidewalk": "sidewalk",
    "Building": "manmade",
    "Signs": "manmade",
    "Road Barriers": "manmade",
}
"""Class of a point → one of nuScenes-lidarseg's sixteen. What is not named is not scored: smoke, exhaust, spray and
reflections, animals, containers, and *Other Static Object*, which holds poles and litter alike."""
