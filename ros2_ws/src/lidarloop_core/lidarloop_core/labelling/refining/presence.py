"""Presence of a track: the frames in which it gets a label, and the confidence of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.observations import Observations
from lidarloop_core.labelling.refining.tracks import Track

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_FEW_HITS = 3.0
_WIDE_SPREAD_M = 1.0
_FAR_M = 20.0
_LONG_S = 1.0
_MOVING = 0.7  # moving objects are more often linked wrongly
_ALIKE = 0.3  # of the points that an object had in its labelled frames, with range allowed for, show it in others
_NEAREST_M = 5.0  # nearer than this an object has no more points


@dataclass(frozen=True)
class Presence:
    """A track over T frames.

    Attributes:
        shown: (T,) bool, whether it gets a label.
        row: (T,) int64, row of its label among the observations; -1 if there is none.
        confidence: (T,) in [0, 1].
    """

    shown: BoolArray
    row: IntArray
    confidence: FloatArray


def presence(
    track: Track,
    observations: Observations,
    times_s: FloatArray,
    sensors: FloatArray,
    config: RefineConfig,
    looked_at: BoolArray | None = None,
) -> Presence:
    """Finds the frames of a track: those with a label, gaps between, and, if it stands and points confirm it, beyond.

    Args:
        track: the track.
        observations: the labels it is made of.
        times_s: (T,) times of the frames, seconds.
        sensors: (T, 2) positions of the LiDAR, metres, drive's frame.
        config: lengths of gaps.
        looked_at: (T,) bool, whether a camera looked at it; None where that is unknown, and taken for all frames.
    """
    row = _best_rows(track, observations, len(times_s))
    hit = row >= 0
    before_s, after_s = _since_and_until(times_s, hit)
    waited_s = np.minimum(before_s, after_s)
    range_m = np.linalg.norm(track.values[:, :2] - sensors, axis=1)
    confirmed = _confirmed(track, hit, range_m, config)
    in_range = range_m < config.max_range_m
    within_gap = before_s + after_s <= config.fill_gap_s
    found_share = _found_share(track, hit, confirmed & in_range & (True if looked_at is None else looked_at))
    beyond = np.zeros(len(times_s), np.bool_)
    if track.stands and track.num_points is not None and found_share >= config.extend_share:
        beyond = waited_s <= config.extend_s
    filled = (within_gap | beyond) & confirmed & in_range
    best = observations.scores[track.rows].max()
    believed = hit.sum() >= config.min_hits or best >= config.min_lone_score
    confidence = _confidence(track, observations, int(hit.sum()), found_share) / np.sqrt(1 + waited_s / _LONG_S)
    return Presence((hit | filled) & believed, row, confidence)


def _confirmed(track: Track, hit: BoolArray, range_m: FloatArray, config: RefineConfig) -> BoolArray:
    """(T,) bool, the frames whose points show the object where it is not labelled."""
    if track.num_points is None:
        return np.ones(len(hit), np.bool_)
    confirmed = track.num_points > 0
    if config.resemble and hit.any():
        full_scale = np.maximum(range_m, _NEAREST_M) ** 2
        expected = np.median((track.num_points * full_scale)[hit]) / full_scale
        confirmed &= track.num_points >= _ALIKE * expected
    if config.end_empty and track.emptied is not None:
        confirmed &= ~_gone(track.emptied & ~hit, hit)
    return confirmed


def _gone(emptied: BoolArray, hit: BoolArray) -> BoolArray:
    """(T,) bool, the frames in which an object's place is empty, and those between these and the ends of the drive that
    no label follows: who has left does not return."""
    gone = emptied.copy()
    if hit.any():
        first, last = np.flatnonzero(hit)[[0, -1]]
        gone[last:] = np.logical_or.accumulate(emptied[last:])
        gone[: first + 1] = np.logical_or.accumulate(emptied[: first + 1][::-1])[::-1]
    return gone


def _best_rows(track: Track, observations: Observations, num_frames: int) -> IntArray:
    """(T,) row of the best label of the track in each frame; -1 if it has none."""
    order = np.argsort(observations.scores[track.rows], kind="stable")
    row = np.full(num_frames, -1)
    row[track.frames[order]] = track.rows[order]
    return row


def _since_and_until(times_s: FloatArray, hit: BoolArray) -> tuple[FloatArray, FloatArray]:
    """(T,) seconds since the label before, and until the one after; infinite if there is none."""
    last = np.maximum.accumulate(np.where(hit, times_s, -np.inf))
    following = np.minimum.accumulate(np.where(hit, times_s, np.inf)[::-1])[::-1]
    return times_s - last, following - times_s


def _found_share(track: Track, hit: BoolArray, visible: BoolArray) -> float:
    """Share of the frames that could show the object and have a label of it, with a prior of one in three."""
    frames = track.spans(len(hit))
    could = (visible | hit) & frames if track.num_points is not None else hit
    return float((hit.sum() + 1) / (could.sum() + 3))


def _confidence(track: Track, observations: Observations, num_hits: int, found_share: float) -> float:
    """Confidence that the object exists, has that class and is at that place, in [0, 1].

    Each factor is one reason for doubt: few labels, labels missing where it should be seen, other classes, scattered
    labels, no label from near.
    """
    offset = observations.values[track.rows, :2] - track.values[track.frames, :2]
    spread_m = float(np.median(np.linalg.norm(offset, axis=1)))
    nearest_m = float(observations.range_m[track.rows].min())
    sure = num_hits / (num_hits + _FEW_HITS) * np.sqrt(found_share) * track.share**2
    sure /= (1 + spread_m / _WIDE_SPREAD_M) * (1 + nearest_m / _FAR_M)
    return float(sure * observations.scores[track.rows].mean() * (1.0 if track.stands else _MOVING))
