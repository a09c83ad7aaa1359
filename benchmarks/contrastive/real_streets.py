"""Units on real streets: how well ground removal and clusters suit what people labelled.

Only points within the units' range count. An object's points are those inside its labelled box.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.samples import labels_of
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.labelling.points.ground_height import GroundHeight
from lidarloop_core.sample import Sample
from lidarloop_training.tasks.pretext.units.ground import GroundConfig, find_ground
from lidarloop_training.tasks.pretext.units.sightings import find_sightings
from lidarloop_training.tasks.pretext.units.units import UnitConfig, Units, find_units

KEPT_ABOVE_M = 0.3
"""Points of objects higher than this above the bottom of their box are to be kept."""

GROUND_WITHIN_M = 0.1
"""Points outside boxes within this of the local ground, above or below, are to be removed."""

SLACK_M = 0.4
"""Points outside boxes are outside boxes that are larger by this: people draw them tightly."""

COUNTED = ("car", "pedestrian", "pedestrian with object")
"""Labelled classes of which each object is to be one unit, by their names in lower case."""

MAX_RANGE_M = 40.0
MIN_POINTS = 30
"""Objects count within this range, if cameras see this many of their points."""

ONE_UNIT = 0.8
"""An object is one unit if one holds this share of its points that are seen and not ground."""

SPAN_POINTS = 5
"""A unit spans objects of which it holds this many points each."""


@dataclass
class GroundCount:
    """Numbers of points, over some samples.

    Attributes:
        num_high, num_high_kept: points of objects that are to be kept, and those of them that are no ground.
        num_low, num_low_removed: points that are to be removed, and those of them that are ground.
    """

    num_high: int = 0
    num_high_kept: int = 0
    num_low: int = 0
    num_low_removed: int = 0


def count_ground(samples: Iterable[Sample], config: GroundConfig, max_range_m: float) -> GroundCount:
    """Ground removal against labelled boxes and the height of the ground by robust local regression.

    Args:
        samples: labelled samples.
        config: settings of the removal.
        max_range_m: farther points are left out, metres.
    """
    count = GroundCount()
    for sample in samples:
        xyz = sample.keyframe.points[:, :3]
        boxes = labels_of(sample).boxes.values
        is_ground = find_ground(xyz, config)
        near = np.hypot(xyz[:, 0], xyz[:, 1]) <= max_range_m
        bottom_m = boxes[:, 2] - boxes[:, 5] / 2
        above = xyz[None, :, 2] - bottom_m[:, None] > KEPT_ABOVE_M
        high = near & (points_in_boxes(xyz, boxes) & above).any(axis=0)
        larger = boxes + np.array([0, 0, 0, SLACK_M, SLACK_M, SLACK_M, 0, 0, 0], np.float32)
        off_m = np.abs(xyz[:, 2] - GroundHeight(xyz).at(xyz))
        low = near & ~points_in_boxes(xyz, larger).any(axis=0) & (off_m <= GROUND_WITHIN_M)
        count.num_high += int(high.sum())
        count.num_high_kept += int((high & ~is_ground).sum())
        count.num_low += int(low.sum())
        count.num_low_removed += int((low & is_ground).sum())
    return count


@dataclass
class InstanceCount:
    """Numbers of objects and units, over some samples.

    Attributes:
        num_objects, num_one: objects that count, and those of them that are one unit.
        num_merged: units that are clusters.
        num_on_objects: clusters that hold points of some labelled object.
        num_spanning: clusters that span two labelled objects of any class.
        num_units: all units.
    """

    num_objects: int = 0
    num_one: int = 0
    num_merged: int = 0
    num_on_objects: int = 0
    num_spanning: int = 0
    num_units: int = 0


def count_instances(samples: Iterable[Sample], config: UnitConfig) -> InstanceCount:
    """Units against labelled objects.

    Args:
        samples: labelled samples with cameras.
        config: settings of the units.
    """
    count = InstanceCount()
    for sample in samples:
        points, labels = sample.keyframe.points, labels_of(sample).boxes
        sightings = find_sightings(points, sample.cameras, sample.keyframe)
        units = find_units(points, sightings, config, np.random.default_rng(0))
        inside = points_in_boxes(points[:, :3], labels.values)
        counted = np.array([name.lower() in COUNTED for name in labels.names], np.bool_)
        counted &= np.hypot(*labels.values[:, :2].T) <= MAX_RANGE_M
        counted &= (inside & sightings.is_seen).sum(axis=1) >= MIN_POINTS
        usable = sightings.is_seen & ~find_ground(points, config.ground)
        count.num_objects += int(counted.sum())
        count.num_one += sum(_is_one(units.unit_of_point[own & usable]) for own in inside[counted])
        _count_spans(count, units, inside)
    return count


def _is_one(unit: npt.NDArray[np.int32]) -> bool:
    """Whether one unit holds enough of an object's points."""
    return bool(np.bincount(unit + 1)[1:].max(initial=0) >= ONE_UNIT * len(unit) > 0)


def _count_spans(count: InstanceCount, units: Units, inside: npt.NDArray[np.bool_]) -> None:
    num_merged = int(units.is_instance.sum())
    merged = (units.unit_of_point >= 0) & (units.unit_of_point < num_merged)
    held = [np.bincount(units.unit_of_point[own & merged], minlength=num_merged) for own in inside]
    num_held = (np.reshape(held, (len(held), num_merged)) >= SPAN_POINTS).sum(axis=0)
    count.num_units += units.num_units
    count.num_merged += num_merged
    count.num_on_objects += int((num_held > 0).sum())
    count.num_spanning += int((num_held > 1).sum())
