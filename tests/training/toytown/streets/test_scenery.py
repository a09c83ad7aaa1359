from __future__ import annotations

import numpy as np

from lidarloop_training.toytown.solids.shapes import METAL, box
from lidarloop_training.toytown.streets.point_classes import MANMADE
from lidarloop_training.toytown.streets.scenery import Thing


def test_a_thing_knows_its_tight_cuboid_wherever_it_stands() -> None:
    thing = Thing(box((0, 0, 0.5), (4, 2, 1), METAL), MANMADE).moved((10, -3, 0.2), 0.7).moved((1, 1, 0), -0.2)
    c, s = np.cos(-0.2), np.sin(-0.2)
    x, y = c * 10 - s * -3 + 1, s * 10 + c * -3 + 1
    np.testing.assert_allclose(thing.cuboid, [x, y, 0.7, 4, 2, 1, 0.5], atol=1e-12)
