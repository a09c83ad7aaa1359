"""Removal of a mask's points that do not belong to its object: ground, background, older positions."""

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
"""Height above the ground up to which points belong to the ground."""

_SMEAR_M, _SMEAR_SHARE = 0.2, 0.025
"""A point of an older sweep shows the object where it is now if a keyframe point is within the first plus this share of
its range, which is the gap between the beams of a 32-beam LiDAR."""

_ENOUGH_NOW = 3
"""Least number of keyframe points that give an object's present place."""

_OTHER_POINTS, _OTHER_SHARE, _OTHER_RANGE = 3, 0.2, 1.5
"""A further cluster is an object of its own if it has at least this many points, this share of the first cluster's, and
a range within this factor of the first's."""

_OTHER_SCORE = 0.5
"""Score of a further cluster, as a share of the mask's."""


def with_ground(cloud: Cloud, ground: GroundHeight) -> Cloud:
    """The cloud with its ground points marked; where the ground height is unknown, none are."""
    return replace(cloud, on_ground=cloud.points[:, 2] - ground.at(cloud.points[:, :2]) <= _GROUND_M)


def cleaned(segment: Segment, cloud: Cloud, config: LiftingConfig) -> list[Segment]:
    """The segment without the points that the configured steps remove; several if a mask shows several objects.

    Args:
        segment: segment of one mask, with at least one point; each returned one has at least one, too.
        cloud: the cloud that the segment indexes.
        config: the steps to apply.
    """
    index = _without_ground(segment.index, cloud)
    if config.drop_smear:
        index = index[_without_smear(cloud.points[index], cloud.age[index])]
    if config.split == "none":
        return [replace(segment, index=index)]
    clusterer = by_gaps if config.split == "gaps" else by_hdbscan
    return _by_clusters(segment, index, cloud, clusterer, config.split_merged)


def _without_ground(index: npt.NDArray[np.int64], cloud: Cloud) -> npt.NDArray[np.int64]:
    """Points above the ground, or all if none is: a distant cone may have points on its foot only."""
    above = index[~cloud.on_ground[index]]
    return above if len(above) else index


def _without_smear(points: npt.NDArray[np.float32], age: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """(n,) bool, points that agree with the keyframe's points of the object; all if those are too few."""
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
    """The likeliest cluster; and, if ``several``, the likeliest of the remaining points, and so on."""
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
