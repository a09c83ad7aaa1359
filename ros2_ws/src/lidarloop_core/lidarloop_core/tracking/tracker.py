"""Detections → tracks with ids, velocities and ages, online.

Tracking by detection as in AB3DMOT (Weng et al., IROS 2020): a Kalman filter for each object, one assignment for each
frame, tracks born and buried by hits and misses. The gate is Mahalanobis' distance (Chiu et al., "Probabilistic 3D
multi-object tracking", 2020) and a reach for each class (CenterPoint's tracker, Yin et al., CVPR 2021); confidence
grows with detections and fades without (Benbarka et al., "Score refinement for confidence-based 3D multi-object
tracking", IROS 2021). Where we differ: an object may change its class within a group, at a cost; its class is
the one that its detections name with most confidence over time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.tracking.association import GATE, assign, squared_mahalanobis
from lidarloop_core.tracking.class_motion import MotionTable
from lidarloop_core.tracking.kalman import HEIGHT_VARIANCE_M2, STATE_SIZE, UNKNOWN, Beliefs, predict, update

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_REACH_MARGIN_M = 2.0
_SIZE_MEMORY = 20  # number of detections that a size is averaged over
_HEADING_GAIN = 0.4
_HEADING_SPEED_MPS = 1.5  # faster objects move along their heading


@dataclass(frozen=True)
class TrackerConfig:
    """Birth, life and end of tracks.

    Attributes:
        min_hits: number of detections from which a track is output.
        sure_confidence: confidence from which a track is output with fewer detections, in [0, 1].
        min_birth_score: least score of a detection that starts a track; weaker ones may continue one.
        max_coast_s: longest time without a detection, seconds; then the track ends.
        min_confidence: least confidence of a track, in [0, 1]; below it the track ends.
        memory_s: time without detections in which confidence falls to 1/e, seconds.
        max_gap_s: longest time between two frames, seconds; after a longer one all tracks end.
        class_change_cost: cost of a detection of another class, in squared standard deviations of distance.
        velocity_mps: standard deviation of the detections' own velocities; infinite if they carry no information.
        output_coasting: output tracks also in frames without a detection of them.
        motion: motion of the classes.
    """

    min_hits: int = 3
    sure_confidence: float = 0.9
    min_birth_score: float = 0.2
    max_coast_s: float = 1.0
    min_confidence: float = 0.05
    memory_s: float = 0.5
    max_gap_s: float = 2.0
    class_change_cost: float = 2.0
    velocity_mps: float = 1.0
    output_coasting: bool = False
    motion: MotionTable = field(default_factory=MotionTable)

    def __post_init__(self) -> None:
        for name in ("max_coast_s", "memory_s", "max_gap_s", "velocity_mps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"TrackerConfig received {name} = {getattr(self, name)}; expected more than 0")
        if self.min_hits < 1:
            raise ConfigError(f"TrackerConfig received min_hits = {self.min_hits}; expected at least 1")


@dataclass(frozen=True)
class Tracks:
    """The tracks of one frame.

    Attributes:
        boxes: M smoothed boxes in the world frame, with velocity; the scores are confidences.
        ids: (M,) int64, never reused, also after ``clear``.
        ages_s: (M,) float64, seconds since the first detection.
        num_hits: (M,) int64, number of detections so far.
        coasted_s: (M,) float64, seconds since the latest detection; 0 for those seen in this frame.
    """

    boxes: Boxes3D
    ids: IntArray
    ages_s: FloatArray
    num_hits: IntArray
    coasted_s: FloatArray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _Known:
    """N tracks, one row each."""

    ids: IntArray
    beliefs: Beliefs
    heading: FloatArray  # (N, 2) direction of the box's length, shorter than 1 the more its detections disagree
    size: FloatArray  # (N, 3)
    votes: FloatArray  # (N, C) scores of the detections by the class they name
    confidence: FloatArray
    num_hits: IntArray
    first_ns: IntArray
    last_ns: IntArray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: npt.NDArray[Any]) -> _Known:
        return _Known(**{name: value[index] for name, value in vars(self).items()})

    @property
    def labels(self) -> IntArray:
        labels: IntArray = self.votes.argmax(axis=1)
        return labels


def _joined(a: _Known, b: _Known) -> _Known:
    columns: dict[str, Any] = {name: (value, getattr(b, name)) for name, value in vars(a).items()}
    return _Known(
        beliefs=Beliefs.joined(columns.pop("beliefs")),
        **{name: np.concatenate(parts) for name, parts in columns.items()},
    )


class Tracker:
    """Tracks boxes through a drive.

    Boxes are given in a static frame (world, odom): in the sensor's own frame everything would seem to move. A stamp
    before the latest one (a bag that starts over) or long after it ends all tracks.
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig()
        self._known: _Known | None = None
        self._class_names: tuple[str, ...] = ()
        self._stamp_ns = 0
        self._next_id = 0

    def clear(self) -> None:
        """Ends all tracks."""
        self._known = None

    def update(self, stamp_ns: int, boxes_world: Boxes3D) -> Tracks:
        """Takes the detections of a frame at ``stamp_ns``; gives the tracks to be output."""
        self.assign(stamp_ns, boxes_world)
        known = self._known
        assert known is not None
        believed = (known.num_hits >= self.config.min_hits) | (known.confidence >= self.config.sure_confidence)
        if not self.config.output_coasting:
            believed &= known.last_ns == stamp_ns
        return self._tracks(known[np.flatnonzero(believed)], stamp_ns)

    def assign(self, stamp_ns: int, boxes_world: Boxes3D, position_m: FloatArray | None = None) -> IntArray:
        """Takes the detections of a frame; gives the track of each.

        Args:
            stamp_ns: stamp of the frame, nanoseconds.
            boxes_world: M detections in a static frame.
            position_m: (M,) standard deviation of each centre along each axis, metres; default that of its class.

        Returns:
            (M,) ids, old and new; -1 for a detection too weak to start a track and that continues none.

        Raises:
            ValueError: if a box or a score is not finite.
        """
        dt_s = (stamp_ns - self._stamp_ns) * 1e-9
        if (
            self._known is None
            or self._class_names != boxes_world.class_names
            or not 0 <= dt_s <= self.config.max_gap_s
        ):
            self._start(boxes_world.class_names)
            dt_s = 0.0
        assert self._known is not None
        self._stamp_ns = stamp_ns
        found = self._found(stamp_ns, boxes_world, position_m)
        known = self._aged(self._known, dt_s)
        rows, columns = self._pairs(known, found)
        found.ids[columns] = known.ids[rows]
        known = self._continued(known, found, rows, columns)
        new = np.flatnonzero((found.ids < 0) & (found.confidence >= self.config.min_birth_score))
        found.ids[new] = self._next_id + np.arange(len(new))
        self._next_id += len(new)
        known = _joined(known, self._newborn(found[new]))
        alive = (stamp_ns - known.last_ns) * 1e-9 <= self.config.max_coast_s
        alive &= known.confidence >= self.config.min_confidence
        self._known = known[np.flatnonzero(alive)]
        return found.ids

    def _start(self, class_names: tuple[str, ...]) -> None:
        motion = self.config.motion
        self._class_names = class_names
        self._reach_mps = motion.column("reach_mps", class_names)
        self._speed_mps = motion.column("speed_mps", class_names)
        self._acceleration_mpss = motion.column("acceleration_mpss", class_names)
        self._position_m = motion.column("position_m", class_names)
        self._change_cost = motion.change_cost(class_names, self.config.class_change_cost)
        self._known = self._found(0, Boxes3D.empty(class_names), None)

    def _found(self, stamp_ns: int, boxes: Boxes3D, position_m: FloatArray | None) -> _Known:
        """Detections as the tracks that they would start, without ids."""
        values, scores = boxes.values.astype(np.float64), boxes.scores.astype(np.float64)
        if not (np.isfinite(values[:, :7]).all() and np.isfinite(scores).all()):
            raise ValueError("Tracker received a box or score that is not finite; expected those of real objects")
        votes = np.zeros((len(boxes), len(self._class_names)))
        votes[np.arange(len(boxes)), boxes.labels] = scores
        stamps_ns = np.full(len(boxes), stamp_ns, np.int64)
        return _Known(
            ids=np.full(len(boxes), -1, np.int64),
            beliefs=self._measured(values, self._position_m[boxes.labels] if position_m is None else position_m),
            heading=np.column_stack([np.cos(values[:, 6]), np.sin(values[:, 6])]),
            size=values[:, 3:6],
            votes=votes,
            confidence=scores,
            num_hits=np.ones(len(boxes), np.int64),
            first_ns=stamps_ns,
            last_ns=stamps_ns,
        )

    def _measured(self, values: FloatArray, position_m: FloatArray) -> Beliefs:
        """Estimates from detections alone: (N, 9) box columns, (N,) standard deviations in metres."""
        known = np.isfinite(values[:, 7:9]).all(axis=1) & math.isfinite(self.config.velocity_mps)
        variances = np.empty((len(values), STATE_SIZE))
        variances[:, :2] = position_m[:, None] ** 2
        variances[:, 2] = HEIGHT_VARIANCE_M2
        variances[:, 3:] = np.where(known, min(self.config.velocity_mps**2, UNKNOWN), UNKNOWN)[:, None]
        mean = np.column_stack([values[:, :3], np.where(known[:, None], values[:, 7:9], 0.0)])
        return Beliefs(mean, variances[:, :, None] * np.eye(STATE_SIZE))

    def _newborn(self, found: _Known) -> _Known:
        """Detections as tracks: the prior of the class bounds their speed."""
        prior = self._speed_mps[found.labels] ** 2
        mean, covariance = found.beliefs.mean.copy(), found.beliefs.covariance.copy()
        for axis in (3, 4):
            weight = prior / (prior + covariance[:, axis, axis])
            mean[:, axis] *= weight
            covariance[:, axis, axis] *= weight
        return replace(found, beliefs=Beliefs(mean, covariance))

    def _aged(self, known: _Known, dt_s: float) -> _Known:
        beliefs = predict(known.beliefs, dt_s, self._acceleration_mpss[known.labels])
        return replace(known, beliefs=beliefs, confidence=known.confidence * math.exp(-dt_s / self.config.memory_s))

    def _pairs(self, known: _Known, found: _Known) -> tuple[IntArray, IntArray]:
        change = self._change_cost[known.labels][:, found.labels]
        x, y = (known.beliefs.mean[:, axis, None] - found.beliefs.mean[None, :, axis] for axis in (0, 1))
        # The reach of a track grows while it coasts.
        waited_s = (self._stamp_ns - known.last_ns) * 1e-9
        reach_m = self._reach_mps[known.labels] * waited_s + _REACH_MARGIN_M
        allowed = (x * x + y * y <= reach_m[:, None] ** 2) & np.isfinite(change)
        # Few pairs are so near; only for them is the exact distance computed.
        rows, columns = np.nonzero(allowed)
        blur = _size_blur(known.size[rows], found.size[columns], known.heading[rows])
        squared, log_determinant = squared_mahalanobis(known.beliefs[rows], found.beliefs[columns], blur)
        allowed[rows, columns] = squared <= GATE
        cost = np.zeros(allowed.shape)
        cost[rows, columns] = squared + log_determinant + change[rows, columns]
        return assign(cost, allowed)

    def _continued(self, known: _Known, found: _Known, rows: IntArray, columns: IntArray) -> _Known:
        """The tracks after the detections that continue them."""
        old, new = known[rows], found[columns]
        measured = new.beliefs.covariance.copy()
        blur = _size_blur(old.size, new.size, old.heading)
        measured[:, :2, :2] += blur[:, :, None] * blur[:, None, :]
        beliefs = update(old.beliefs, Beliefs(new.beliefs.mean, measured))
        num_hits = old.num_hits + 1
        gain = np.maximum(1 / num_hits, 1 / _SIZE_MEMORY)[:, None]
        after = _Known(
            ids=old.ids,
            beliefs=beliefs,
            heading=_turned(old.heading, new.heading, beliefs.mean[:, 3:]),
            size=old.size + gain * (new.size - old.size),
            votes=old.votes + new.votes,
            confidence=1.0 - (1.0 - old.confidence) * (1.0 - new.confidence),
            num_hits=num_hits,
            first_ns=old.first_ns,
            last_ns=new.last_ns,
        )
        seen = np.zeros(len(known), np.bool_)
        seen[rows] = True
        return _joined(known[np.flatnonzero(~seen)], after)

    def _tracks(self, known: _Known, stamp_ns: int) -> Tracks:
        mean = known.beliefs.mean
        yaw_rad = np.arctan2(known.heading[:, 1], known.heading[:, 0])
        values = np.column_stack([mean[:, :3], known.size, yaw_rad, mean[:, 3:]])
        boxes = Boxes3D(values.astype(np.float32), known.confidence.astype(np.float32), known.labels, self._class_names)
        return Tracks(
            boxes,
            known.ids,
            (stamp_ns - known.first_ns) * 1e-9,
            known.num_hits,
            (stamp_ns - known.last_ns) * 1e-9,
        )


def _size_blur(a: FloatArray, b: FloatArray, heading: FloatArray) -> FloatArray:
    """(…, 2) metres, possible offset between the centres of two boxes of one object whose sizes (…, 3) differ.

    A box that is too long, of another class or because little was seen, shares the near face but not the far one.
    """
    return np.asarray(np.abs(a[..., :1] - b[..., :1]) / 2 * heading)


def _turned(old: FloatArray, new: FloatArray, velocity: FloatArray) -> FloatArray:
    """(N, 2) headings after a further detection.

    A detector may take front for back. The track does not follow such a flip; the direction of motion decides.
    """
    same = np.where((old * new).sum(axis=1) < 0, -1.0, 1.0)[:, None]
    heading = old + _HEADING_GAIN * (same * new - old)
    forwards = (heading * velocity).sum(axis=1)
    reversed_ = (forwards < 0) & (np.linalg.norm(velocity, axis=1) > _HEADING_SPEED_MPS)
    return np.where(reversed_[:, None], -heading, heading)
