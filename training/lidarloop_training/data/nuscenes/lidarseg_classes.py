"""nuScenes-lidarseg's point labels: the 32 categories of its tables and the 16 classes that are scored.

Source: the lidarseg challenge's class mapping (nuscenes.org, "LiDAR segmentation task"). The first ten classes are the
detection task's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.sample import Sample
from lidarloop_training.data.nuscenes.classes import CLASS_TO_CATEGORY

LABEL_NAMES = (
    "ignore", "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "traffic_cone",
    "trailer", "truck", "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation",
)  # fmt: skip
"""``LABEL_NAMES[label]``; label 0 is not scored."""

CATEGORY_TO_LABEL_NAME = {
    "noise": "ignore",
    "animal": "ignore",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.personal_mobility": "ignore",
    "human.pedestrian.police_officer": "pedestrian",
    "human.pedestrian.stroller": "ignore",
    "human.pedestrian.wheelchair": "ignore",
    "movable_object.barrier": "barrier",
    "movable_object.debris": "ignore",
    "movable_object.pushable_pullable": "ignore",
    "movable_object.trafficcone": "traffic_cone",
    "static_object.bicycle_rack": "ignore",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.emergency.ambulance": "ignore",
    "vehicle.emergency.police": "ignore",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
    "flat.driveable_surface": "driveable_surface",
    "flat.other": "other_flat",
    "flat.sidewalk": "sidewalk",
    "flat.terrain": "terrain",
    "static.manmade": "manmade",
    "static.other": "ignore",
    "static.vegetation": "vegetation",
    "vehicle.ego": "ignore",
}
"""In the order of the published categories: the place of a category is its index in the label files."""

LABEL_NAME_TO_CATEGORY = {
    "ignore": "noise",
    "driveable_surface": "flat.driveable_surface",
    "other_flat": "flat.other",
    "sidewalk": "flat.sidewalk",
    "terrain": "flat.terrain",
    "manmade": "static.manmade",
    "vegetation": "static.vegetation",
    **CLASS_TO_CATEGORY,
}
"""The category that the points of a class are written as."""

assert set(LABEL_NAME_TO_CATEGORY) == set(LABEL_NAMES)


def category_indices(sample: Sample) -> npt.NDArray[np.uint8]:
    """What a label file holds of a keyframe.

    Args:
        sample: a sample with ``point_classes``; its points carry the column ``label``.

    Returns:
        (N,) index of each point's category, noise where it is not scored.

    Raises:
        DatasetError: the points are of classes that nuScenes-lidarseg does not have.
    """
    _, *names = sample.point_classes
    unknown = [name for name in names if name not in LABEL_NAME_TO_CATEGORY]
    if unknown:
        raise DatasetError(
            f"{sample.token}: received points labelled as {', '.join(unknown[:3])}; nuScenes tables take "
            f"{', '.join(LABEL_NAMES[1:])}: convert to a bag (a destination that ends in .mcap) instead"
        )
    order = list(CATEGORY_TO_LABEL_NAME)
    lookup = np.array([order.index(LABEL_NAME_TO_CATEGORY[name]) for name in ("ignore", *names)], np.uint8)
    newest = sample.keyframe
    return lookup[newest.points[:, newest.columns.index("label")].astype(np.int64)]
