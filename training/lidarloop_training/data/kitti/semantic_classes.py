"""SemanticKITTI's point labels: the raw ids of the files, the 19 classes that are scored, and where these belong.

Source: ``learning_map`` of the data set's own configuration (semantic-kitti.yaml of the semantic-kitti-api) for the
single-scan task, which joins what moves with what stands.
"""

from __future__ import annotations

LABEL_NAMES = (
    "unlabeled", "car", "bicycle", "motorcycle", "truck", "other-vehicle", "person", "bicyclist", "motorcyclist",
    "road", "parking", "sidewalk", "other-ground", "building", "fence", "vegetation", "trunk", "terrain", "pole",
    "traffic-sign",
)  # fmt: skip
"""``LABEL_NAMES[label]``; label 0 is not scored."""

RAW_TO_LABEL = {
    0: 0,  # unlabeled
    1: 0,  # outlier
    10: 1,  # car
    11: 2,  # bicycle
    13: 5,  # bus
    15: 3,  # motorcycle
    16: 5,  # on-rails
    18: 4,  # truck
    20: 5,  # other-vehicle
    30: 6,  # person
    31: 7,  # bicyclist
    32: 8,  # motorcyclist
    40: 9,  # road
    44: 10,  # parking
    48: 11,  # sidewalk
    49: 12,  # other-ground
    50: 13,  # building
    51: 14,  # fence
    52: 0,  # other-structure
    60: 9,  # lane-marking
    70: 15,  # vegetation
    71: 16,  # trunk
    72: 17,  # terrain
    80: 18,  # pole
    81: 19,  # traffic-sign
    99: 0,  # other-object
    252: 1,  # moving-car
    253: 7,  # moving-bicyclist
    254: 6,  # moving-person
    255: 8,  # moving-motorcyclist
    256: 5,  # moving-on-rails
    257: 5,  # moving-bus
    258: 4,  # moving-truck
    259: 5,  # moving-other-vehicle
}
"""Raw id of a ``.label`` file (its lower 16 bits) → label."""

SEMANTIC_KITTI_TO_NUSCENES = {
    "car": "car",
    "truck": "truck",
    "person": "pedestrian",
    "bicycle": "bicycle",
    "bicyclist": "bicycle",
    "motorcycle": "motorcycle",
    "motorcyclist": "motorcycle",
}
"""Labels whose points lie on objects of the ten nuScenes classes. A rider's points belong to the cycle's class, for
nuScenes draws one box round both. other-vehicle holds buses, trams and trailers alike, and has no one class there."""

SEMANTIC_KITTI_TO_WAYMO = {
    "car": "vehicle",
    "truck": "vehicle",
    "other-vehicle": "vehicle",
    "motorcycle": "vehicle",
    "motorcyclist": "vehicle",
    "person": "pedestrian",
    "bicyclist": "cyclist",
}
