"""Points of a mask that are not its object's: the ground below, what lies behind, where it was a moment ago."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.ground_height import GroundHeight
from lidarloop_core.labelling.points.segments import Segment
from lidarloop_core.labelling.points.split import Clusterer, by_gaps, by_hdbscan, nearest_cluster

_GROUND_M = 0.15
"""Points so little above the ground are the ground's."""

_SMEAR_M, _SMEAR_SHARE = 0.2, 0.025
"""A point of an older sweep is of the object as it stands now if one of the keyframe is as near as the first plus this
share of its range, the gap between the beams of a 32-beam LiDAR."""

_ENOUGH_NOW = 3
"""Points of the keyframe's sweep that tell where an object stands now."""

_OTHER_POINTS, _OTHER_SHARE, _OTHER_RANGE = 3, 0.2, 1.5
"""A further cluster is an object of its own if it has so many points, this share of the first one's, and a range that
differs from the first one's by no more than this factor."""

_OTHER_SCORE = 0.5
"""Its score, as a share of the mask's."""


def with_ground(cloud: Cloud, ground: GroundHeight) -> Cloud:
    """The cloud, told which of its points are the ground's; where its height is not known none are."""
    return replace(cloud, on_ground=cloud.points[:, 2] - ground.at(cloud.points[:, :2]) <= _GROUND_M)


def cleaned(segment: Segment, cloud: Cloud, config: LiftingConfig) -> list[Segment]:
    """The segment less the points that the configured steps take out; more than one where a mask shows several objects.

    Args:
        segment: of one mask, with at least one point; so has each that comes back.
        cloud: that it points into.
        config: which steps.
    """
    index = _without_ground(segment.index, cloud)
    if config.drop_smear:
        index = index[_without_smear(cloud.points[index], cloud.age[index])]
    if config.split == "none":
        return [replace(segment, index=index)]
    clusterer = by_gaps if config.split == "gaps" else by_hdbscan
    return _by_clusters(segment, index, cloud, clusterer, config.split_merged)


def _without_ground(index: npt.NDArray[np.int64], cloud: Cloud) -> npt.NDArray[np.int64]:
    """Less those on the ground, unless that would leave none: of a far cone there may be its foot alone."""
    above = index[~cloud.on_ground[index]]
    return above if len(above) else index


def _without_smear(points: npt.NDArray[np.float32], age: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """(n,) which points agree with where the keyframe's sweep has the object; all where that has too few to tell."""
    kept: npt.NDArray[np.bool_] = age == 0
    if kept.sum() < _ENOUGH_NOW or kept.all():
        return np.ones(len(points), np.bool_)
    older = points[~kept]
    reach_m = _SMEAR_M + _SMEAR_SHARE * np.linalg.norm(older, axis=1)
    distance_m, _ = cKDTree(points[kept]).query(older, distance_upper_bound=float(reach_m.max()))
    kept[~kept] = distance_m <= reach_m
    return kept


def _by_clusters(
    segment: Segment, index: npt.NDArray[np.int64], cloud: Cloud, clusterer: Clusterer, several: bool
) -> list[Segment]:
    """The likeliest cluster to be the mask's object; and, if ``several``, the likeliest of what is left, and so on."""
    own = nearest_cluster(cloud.points[index], np.zeros(3), clusterer)
    first = index[own]
    found = [replace(segment, index=first)]
    range_m = _range_m(first, cloud)
    rest = index[~own]
    while several and len(rest) >= max(_OTHER_POINTS, _OTHER_SHARE * len(first)):
        own = nearest_cluster(cloud.points[rest], np.zeros(3), clusterer)
        other = rest[own]
        far = _range_m(other, cloud) / range_m
        if len(other) >= max(_OTHER_POINTS, _OTHER_SHARE * len(first)) and 1 / _OTHER_RANGE < far < _OTHER_RANGE:
            found.append(replace(segment, index=other, score=segment.score * _OTHER_SCORE))
        rest = rest[~own]
    return found


def _range_m(index: npt.NDArray[np.int64], cloud: Cloud) -> float:
    return float(np.median(np.linalg.norm(cloud.points[index], axis=1)))
