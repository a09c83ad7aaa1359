"""What a point of the toy town can lie on: the classes of nuScenes-lidarseg that there are, by its names."""

from __future__ import annotations

import numpy as np

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_training.toytown.streets.ground import ASPHALT, GRASS, MARKING, PAVEMENT

POINT_CLASSES = (
    "ignore", *NUSCENES_CLASSES, "driveable_surface", "sidewalk", "terrain", "manmade", "vegetation",
)  # fmt: skip
"""``POINT_CLASSES[label]``; label 0 is not scored, and no point of the toy town has it."""

FIRST_ACTOR = 1
"""The label of the points of the first of the ten classes."""

DRIVEABLE, SIDEWALK, TERRAIN, MANMADE, VEGETATION = (
    POINT_CLASSES.index(name) for name in ("driveable_surface", "sidewalk", "terrain", "manmade", "vegetation")
)

LABEL_OF_COVER = np.zeros(4, np.uint8)
"""(4,) uint8, label by the code of what covers the ground."""
LABEL_OF_COVER[[GRASS, ASPHALT, MARKING, PAVEMENT]] = (TERRAIN, DRIVEABLE, DRIVEABLE, SIDEWALK)
