"""The nuScenes metrics without classes, for boxes found without labels: a thing counts, whatever it is called.

The rule: every box of a scored class, and every box called ``object``, becomes an ``object``, out to the largest range
of any class (50 m), so that a detection's class, car (50 m) or cone (30 m), does not matter. The errors are those
of an ordinary class: a heading turned by 180° is wrong by 180°, a cone's or a barrier's as annotated.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.sample import Annotations
from lidarloop_training.evaluation.metrics.matching import DetectionConfig

OBJECT = "object"


def class_agnostic_config(config: DetectionConfig) -> DetectionConfig:
    """The same thresholds with the one class ``object``."""
    return dataclasses.replace(config, class_range_m={OBJECT: max(config.class_range_m.values())})


def as_objects(boxes: Boxes3D, config: DetectionConfig) -> Boxes3D:
    """The boxes of the config's classes and those called ``object``, all as ``object``, in their order."""
    rows = _counting(boxes, config)
    return Boxes3D(boxes.values[rows], boxes.scores[rows], np.zeros(len(rows), np.int64), (OBJECT,))


def objects_of(annotations: Annotations, config: DetectionConfig) -> Annotations:
    """The annotations of one sample as ``as_objects`` makes them."""
    rows = _counting(annotations.boxes, config)
    return Annotations(
        boxes=as_objects(annotations.boxes, config),
        instance_ids=tuple(annotations.instance_ids[row] for row in rows),
        num_lidar_pts=annotations.num_lidar_pts[rows],
        visibility=annotations.visibility[rows],
    )


def _counting(boxes: Boxes3D, config: DetectionConfig) -> npt.NDArray[np.int64]:
    counts = np.array([name in config.class_range_m or name == OBJECT for name in boxes.class_names], dtype=np.bool_)
    return np.nonzero(counts[boxes.labels])[0] if len(boxes) else np.zeros(0, np.int64)
