"""Estimates of an object from all its labels: class, size, whether it stands, and its path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.estimates import (
    axis_of,
    front_of,
    geometric_median,
    precision,
    vote,
    weighted_median,
)
from lidarloop_core.labelling.refining.linking import blur_at, blur_of
from lidarloop_core.labelling.refining.motion import frame_period_s, has_moved
from lidarloop_core.labelling.refining.observations import Observations
from lidarloop_core.tracking.kalman import HEIGHT_VARIANCE_M2, STATE_SIZE, UNKNOWN, Beliefs, smooth

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_SIGNIFICANT = 4.0
_HEADS_MPS = 1.0


@dataclass(frozen=True)
class Track:
    """One object over a drive of T frames.

    Attributes:
        rows: (N,) int64, rows of its labels among the observations, by time.
        frames: (N,) int64, frames of these labels.
        label: class index.
        share: share of its labels' scores that names this class, in [0, 1].
        stands: whether it never moved.
        values: (T, 9) its box in every frame, drive's frame; extrapolated before the first and after the last label.
        heading_by_motion: (T,) bool, whether its yaw comes from its motion.
        support: sum of its labels' scores.
        num_points: (T,) int64, number of LiDAR points on it; None if points were not searched.
        emptied: (T,) bool, whether the LiDAR looked through its place; None if that was not searched.
        front_is_sure: whether the front of a standing object is known, by more than chance.
    """

    rows: IntArray
    frames: IntArray
    label: int
    share: float
    stands: bool
    values: FloatArray
    heading_by_motion: BoolArray
    support: float
    num_points: IntArray | None = None
    emptied: BoolArray | None = None
    front_is_sure: bool = False

    def spans(self, num_frames: int) -> BoolArray:
        """(T,) bool, the frames in which it may be visible: all if it stands."""
        frames = np.arange(num_frames)
        return np.full(num_frames, True) if self.stands else (frames >= self.frames[0]) & (frames <= self.frames[-1])


def estimate(
    observations: Observations,
    tracks: IntArray,
    times_s: FloatArray,
    class_names: tuple[str, ...],
    config: RefineConfig,
) -> list[Track]:
    """Estimates the tracks.

    Args:
        observations: K labels.
        tracks: (K,) track of each label, from 0, by ``linking.link``.
        times_s: (T,) times of the frames, seconds.
        class_names: C names that the labels index.
        config: motion of the classes.
    """
    weights = precision(observations.range_m, observations.quality, observations.num_points)
    rows = [np.flatnonzero(tracks == i) for i in range(int(tracks.max(initial=-1)) + 1)]
    votes = [vote(observations.labels[r], observations.scores[r], len(class_names)) for r in rows]
    paths = _paths(observations, rows, [v[0] for v in votes], times_s, class_names, config)
    blur = blur_of(observations, class_names, config)
    period_s = frame_period_s(times_s)
    found = []
    for i, r in enumerate(rows):
        label, shares = votes[i]
        # A box of another class has another size, and so another centre.
        own = observations.labels[r] == label
        weight = weights[r] * np.where(own, 1.0, 0.1)
        stands = not has_moved(
            observations.values[r], times_s[observations.frame[r]], blur[r] * np.where(own, 1.0, 3.0), period_s
        )
        values = np.empty((len(times_s), 9))
        size = weighted_median(observations.values[r, 3:6], weight)
        values[:, 3:6] = size
        axis = axis_of(observations.values[r, 6], weight)
        front = front_of(axis, observations.values[r, 6], weight * np.where(observations.has_front[r], 1.0, 1e-3))
        if stands:
            values[:, :3] = geometric_median(observations.values[r, :3], weight)
            values[:, 6] = front
            values[:, 7:9] = 0.0
            by_motion = np.zeros(len(times_s), np.bool_)
        else:
            values[:, :3], values[:, 7:9] = paths[i][:, :3], paths[i][:, 3:]
            values[:, 6], by_motion = headings(paths[i][:, 3:], front)
        found.append(
            Track(
                r,
                observations.frame[r],
                label,
                float(shares[label]),
                stands,
                values,
                by_motion,
                float(observations.scores[r].sum()),
            )
        )
    return found


def _paths(
    observations: Observations,
    rows: Sequence[IntArray],
    labels: Sequence[int],
    times_s: FloatArray,
    class_names: tuple[str, ...],
    config: RefineConfig,
) -> list[FloatArray]:
    """The smoothed states (T, 5) of every track, computed together."""
    label = np.asarray(labels, np.int64)
    position_m = config.motion.column("position_m", class_names)
    seen = np.zeros((len(times_s), len(rows)), np.bool_)
    mean = np.zeros((len(times_s), len(rows), STATE_SIZE))
    variance = np.full((len(times_s), len(rows), STATE_SIZE), UNKNOWN)
    for i, r in enumerate(rows):
        frame = observations.frame[r]
        seen[frame, i] = True
        mean[frame, i, :3] = observations.values[r, :3]
        own = observations.labels[r] == labels[i]
        blur = blur_at(observations.range_m[r], position_m[labels[i]]) * np.where(own, 1.0, 3.0)
        variance[frame, i, :2] = blur[:, None] ** 2
        variance[frame, i, 2] = HEIGHT_VARIANCE_M2
    covariance = variance[..., None] * np.eye(STATE_SIZE)
    starts = np.array([observations.values[r[0], :3] for r in rows]).reshape(-1, 3)
    return smoothed(times_s, mean, covariance, seen, starts, label, class_names, config)


def smoothed(
    times_s: FloatArray,
    mean: FloatArray,
    covariance: FloatArray,
    seen: BoolArray,
    starts: FloatArray,
    labels: IntArray,
    class_names: tuple[str, ...],
    config: RefineConfig,
) -> list[FloatArray]:
    """N paths of T states (T, 5) through measurements (T, N, 5) with covariances (T, N, 5, 5), where seen (T, N)."""
    speed_mps = config.motion.column("speed_mps", class_names)[labels]
    prior_mean = np.zeros((len(labels), STATE_SIZE))
    prior_mean[:, :3] = starts
    prior_variance = np.full((len(labels), STATE_SIZE), UNKNOWN)
    prior_variance[:, 3:] = 4 * speed_mps[:, None] ** 2
    prior = Beliefs(prior_mean, prior_variance[:, :, None] * np.eye(STATE_SIZE))
    acceleration = config.motion.column("acceleration_mpss", class_names)[labels]
    measured = [Beliefs(m, c) for m, c in zip(mean, covariance, strict=True)]
    path = smooth(times_s, measured, seen, acceleration, prior)
    return list(np.array([b.mean for b in path]).transpose(1, 0, 2))


def headings(velocity: FloatArray, front: float) -> tuple[FloatArray, BoolArray]:
    """(T,) headings along velocities (T, 2), held while the object hardly moves; and (T,) whether motion gave them."""
    moves = np.linalg.norm(velocity, axis=1) > _HEADS_MPS
    yaw = np.arctan2(velocity[:, 1], velocity[:, 0])
    if not moves.any():
        return np.full(len(velocity), front), moves
    places = np.flatnonzero(moves)
    nearest = places[np.abs(np.arange(len(velocity))[:, None] - places[None]).argmin(axis=1)]
    return yaw[nearest], np.ones(len(velocity), np.bool_)
