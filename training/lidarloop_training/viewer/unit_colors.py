"""Colours that show the contrastive units of a cloud."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.sample import Sample
from lidarloop_training.tasks.pretext.units.sightings import find_sightings
from lidarloop_training.tasks.pretext.units.units import UnitConfig, find_units

NO_UNIT = (44, 54, 82)
"""Colour of points without a unit: ground, too far, or seen by no camera."""

_INSTANCE, _SEED = (0.75, 1.0), (0.3, 0.75)  # saturation and value


class UnitColors(NamedTuple):
    """A colour for each unit.

    Attributes:
        rgb: (N, 3) uint8, colours of the keyframe's points; ``NO_UNIT`` for points without a unit.
        has_unit: (N,) bool, points that belong to a unit.
    """

    rgb: npt.NDArray[np.uint8]
    has_unit: npt.NDArray[np.bool_]


def unit_colors(sample: Sample, config: UnitConfig | None = None) -> UnitColors:
    """Finds the units of a keyframe's (N, ≥3) points and colours them; neighbours in number differ in hue.

    Instances are vivid, initial units that fell into no cluster are pale.

    Args:
        sample: a keyframe with its cameras.
        config: settings; the defaults if None.
    """
    points = sample.keyframe.points
    sightings = find_sightings(points, sample.cameras, sample.keyframe)
    units = find_units(points, sightings, config or UnitConfig(), np.random.default_rng(0))
    palette = [
        colorsys.hsv_to_rgb(number * 0.618034 % 1, *(_INSTANCE if is_instance else _SEED))
        for number, is_instance in enumerate(units.is_instance.tolist())
    ]
    shares = np.array([*palette, np.divide(NO_UNIT, 255)])[units.unit_of_point]
    return UnitColors((shares * 255).round().astype(np.uint8), units.unit_of_point >= 0)
