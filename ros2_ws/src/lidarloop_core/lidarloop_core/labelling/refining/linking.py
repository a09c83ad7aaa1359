"""Linking of a drive's labels to tracks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.estimates import geometric_median, precision, vote
from lidarloop_core.labelling.refining.motion import frame_period_s, has_moved
from lidarloop_core.labelling.refining.observations import Observations, as_boxes
from lidarloop_core.tracking.class_motion import MotionTable
from lidarloop_core.tracking.tracker import Tracker, TrackerConfig

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_BLUR_RANGE_M = 30.0  # at this range centres are half as exact as beside the LiDAR
_REACH_MARGIN_M = 0.2
_SEEN_TWICE = 0.2  # share of the frames of the shorter track


def link(
    observations: Observations,
    times_s: FloatArray,
    stamps_ns: Sequence[int],
    class_names: tuple[str, ...],
    config: RefineConfig,
) -> IntArray:
    """(K,) int64, the track of each of K labels, from 0: labels of one object share a track.

    The first pass assumes that nothing moves, over the full drive: most objects in a street stand, and at two frames a
    second a tracker would jump from one parked car to the next. The second pass follows the labels that do not stay in
    place.

    Args:
        observations: K labels.
        times_s: (T,) times of the frames, seconds from the first.
        stamps_ns: T stamps of the frames, nanoseconds.
        class_names: C names that the labels index.
        config: the steps.
    """
    position_m = blur_of(observations, class_names, config)
    tracks = _follow(observations, position_m, stamps_ns, class_names, config.motion.standing(), math.inf, config)
    moving = ~_stays(observations, position_m, tracks, times_s, config)
    again = _follow(
        observations[moving], position_m[moving], stamps_ns, class_names, config.motion, config.coast_s, config
    )
    tracks[moving] = tracks.max(initial=-1) + 1 + again
    if config.join_places:
        tracks = _join(observations, tracks, class_names, config)
    return np.unique(tracks, return_inverse=True)[1].reshape(-1).astype(np.int64)


def blur_of(observations: Observations, class_names: tuple[str, ...], config: RefineConfig) -> FloatArray:
    """(K,) standard deviation of each label's centre along each axis, metres."""
    position_m = config.motion.column("position_m", class_names)[observations.labels]
    return blur_at(observations.range_m, position_m)


def blur_at(range_m: FloatArray, position_m: FloatArray) -> FloatArray:
    """(K,) standard deviations of a class's centres, metres, that grow with range (K,), metres."""
    return np.asarray(position_m * (1 + range_m / _BLUR_RANGE_M))


def _follow(
    observations: Observations,
    position_m: FloatArray,
    stamps_ns: Sequence[int],
    class_names: tuple[str, ...],
    motion: MotionTable,
    coast_s: float,
    config: RefineConfig,
) -> IntArray:
    tracker = Tracker(
        TrackerConfig(
            min_birth_score=0.0,
            min_confidence=0.0,
            max_coast_s=coast_s,
            max_gap_s=math.inf,
            velocity_mps=math.inf,
            motion=motion,
        )
    )
    tracks = np.empty(len(observations), np.int64)
    for frame, stamp_ns in enumerate(stamps_ns):
        rows = np.flatnonzero(observations.frame == frame)
        tracks[rows] = tracker.assign(stamp_ns, as_boxes(observations[rows], class_names), position_m[rows])
    return tracks


def _stays(
    observations: Observations, position_m: FloatArray, tracks: IntArray, times_s: FloatArray, config: RefineConfig
) -> npt.NDArray[np.bool_]:
    """(K,) bool, whether a label's track stays in place."""
    stays = np.zeros(len(tracks), np.bool_)
    period_s = frame_period_s(times_s)
    for track in np.unique(tracks):
        rows = np.flatnonzero(tracks == track)
        seconds = times_s[observations.frame[rows]]
        if len(rows) < config.min_standing_hits or np.ptp(seconds) < config.min_standing_s:
            continue
        stays[rows] = not has_moved(observations.values[rows], seconds, position_m[rows], period_s)
    return stays


def _join(observations: Observations, tracks: IntArray, class_names: tuple[str, ...], config: RefineConfig) -> IntArray:
    """Joins tracks that stand at one place, nearest first, but not two that were often seen at the same time."""
    names, members = np.unique(tracks, return_inverse=True)
    rows = [np.flatnonzero(members == i) for i in range(len(names))]
    root = np.arange(len(rows))
    frames = [set(observations.frame[r].tolist()) for r in rows]
    for first, second in _neighbours(observations, rows, class_names, config):
        a, b = root[first], root[second]
        if a != b and len(frames[a] & frames[b]) <= _SEEN_TWICE * min(len(frames[a]), len(frames[b])):
            frames[a] |= frames[b]
            root[root == b] = a
    return np.asarray(root[members])


def _neighbours(
    observations: Observations, rows: Sequence[IntArray], class_names: tuple[str, ...], config: RefineConfig
) -> IntArray:
    """(P, 2) pairs of tracks that stand within half their width of each other, nearest first."""
    weights = precision(observations.range_m, observations.quality, observations.num_points)
    places, scatter_m, width_m, labels = [], [], [], []
    for r in rows:
        place = geometric_median(observations.values[r, :2], weights[r])
        places.append(place)
        scatter_m.append(np.median(np.linalg.norm(observations.values[r, :2] - place, axis=1)))
        width_m.append(np.median(observations.values[r, 3:5].min(axis=1)))
        labels.append(vote(observations.labels[r], observations.scores[r], len(class_names))[0])
    reach_m = 0.5 * np.array(width_m) + _REACH_MARGIN_M
    place, label = np.array(places), np.array(labels)
    distance_m = np.linalg.norm(place[:, None] - place[None], axis=2)
    stands = np.array(scatter_m) < reach_m
    near = (distance_m < np.minimum(reach_m[:, None], reach_m[None])) & stands[:, None] & stands[None]
    near &= np.isfinite(config.motion.change_cost(class_names, 0.0))[label][:, label]
    pairs = np.argwhere(np.triu(near, 1))
    return pairs[np.argsort(distance_m[pairs[:, 0], pairs[:, 1]], kind="stable")]
