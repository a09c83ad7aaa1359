"""Which points are compared as one: the paper's units, single points (PPKT), superpixels (SLidR)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lidarloop_core.io.images import resized
from lidarloop_core.sample import Sample
from lidarloop_training.data.point_labels import is_in_range
from lidarloop_training.tasks.pretext.config import ContrastConfig
from lidarloop_training.tasks.pretext.superpixels import superpixels
from lidarloop_training.tasks.pretext.units.sightings import Sightings
from lidarloop_training.tasks.pretext.units.units import find_units

UnitOfPoint = npt.NDArray[np.int32]


def group_points(
    sample: Sample,
    points: npt.NDArray[np.float32],
    sightings: Sightings,
    config: ContrastConfig,
    rng: np.random.Generator,
) -> tuple[UnitOfPoint, int]:
    """The units of a keyframe's points, of those in the model's range.

    Args:
        sample: gives the pictures, where superpixels are asked for.
        points: (N, C) in ``spec.point_columns``, metres, LiDAR frame.
        sightings: where the cameras see them.
        config: kind of units, and modality.
        rng: source of all randomness.

    Returns:
        (N,) int32 unit of each point, -1 for none, and the number of units.

    Raises:
        DatasetError: a picture cannot be read.
    """
    in_range = is_in_range(points, config.spec)
    grouping = config.grouping
    if grouping.kind == "points":
        unit = _single_points(sightings.is_seen & in_range, grouping.num_points, rng)
    elif grouping.kind == "superpixels":
        unit = _by_superpixel(sample, sightings, grouping.num_superpixels, grouping.superpixel_width)
    else:
        # A single modality without + is the baseline that has initial units alone.
        initial = config.modality == "single"
        settings = replace(grouping.units, clusters=None) if initial else grouping.units
        unit = find_units(points, sightings, settings, rng).unit_of_point
    return _renumbered(np.where(in_range, unit, -1).astype(np.int32))


def _single_points(candidates: npt.NDArray[np.bool_], most: int, rng: np.random.Generator) -> UnitOfPoint:
    """(N,) a unit of its own for each of at most so many candidates, drawn at random."""
    chosen = rng.permutation(np.flatnonzero(candidates))[:most]
    unit = np.full(len(candidates), -1, np.int32)
    unit[chosen] = np.arange(len(chosen))
    return unit


def _by_superpixel(sample: Sample, sightings: Sightings, number: int, most_width: int) -> UnitOfPoint:
    """(N,) superpixel of each point in the first picture that shows it, counted over the pictures."""
    unit, first = np.full(sightings.num_points, -1, np.int32), 0
    for index, camera in enumerate(sample.cameras):
        picture = camera.load()
        scale = min(1.0, most_width / camera.width)
        size = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
        label = superpixels(resized(picture, *size), number)
        rows = sightings.camera == index
        point = sightings.point[rows]
        place = (sightings.pixels[rows] + 0.5) / (camera.width, camera.height) * size
        column, row = np.clip(place, 0, np.array(size) - 1).astype(np.int64).T
        is_new = unit[point] < 0
        unit[point[is_new]] = first + label[row, column][is_new]
        first += int(label.max()) + 1
    return unit


def _renumbered(unit: UnitOfPoint) -> tuple[UnitOfPoint, int]:
    """The units that have points, counted from 0 in their order, and their number."""
    found, number = np.unique(unit[unit >= 0], return_inverse=True)
    renumbered = np.full(len(unit), -1, np.int32)
    renumbered[unit >= 0] = number
    return renumbered, len(found)
