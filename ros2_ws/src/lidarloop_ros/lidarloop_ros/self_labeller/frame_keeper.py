"""FrameKeeper: writes the frames worth keeping, in a thread of its own, so that a bad disk delays nothing else."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.labelling.selection.frame_file import KeptFrame
from lidarloop_core.labelling.selection.frame_store import FrameStore, Quota
from lidarloop_core.labelling.selection.frame_value import FrameValueRater
from lidarloop_ros.node.mailbox import Mailbox
from lidarloop_ros.node.worker import Worker
from lidarloop_ros.self_labeller.pipeline import LabelledSample


@dataclass(frozen=True)
class KeepRule:
    """Which frames are kept.

    Attributes:
        min_value: least frame value, 0 to 1; see ``FrameValueRater``.
        min_interval_s: least time between the stamps of two kept frames, seconds; bounds how many frames of one scene
            are kept.
        retry_after_s: pause after the disk has refused a frame, seconds.
    """

    min_value: float = 0.5
    min_interval_s: float = 1.0
    retry_after_s: float = 5.0


@dataclass(frozen=True)
class KeeperReport:
    """What became of the frames so far.

    Attributes:
        num_offered: frames labelled.
        num_kept: frames written.
        not_kept: reason → number of frames.
        num_frames: frames in the folder now.
        num_bytes: size of the frames in the folder now, bytes.
        problem: why keeping is paused, or "".
    """

    num_offered: int
    num_kept: int
    not_kept: Mapping[str, int]
    num_frames: int
    num_bytes: int
    problem: str


class FrameKeeper(Worker[KeptFrame]):
    """Runs from its construction until ``stop``. The folder need not exist, nor be writable, yet.

    Args:
        folder: folder in which frames are kept.
        quota: largest size and age of the kept frames, and least free space.
        rule: which frames are kept.
        provenance: how the labels were made; written into each frame.
        clock_s: monotonic clock in seconds; replaced in tests.
    """

    def __init__(
        self,
        folder: Path,
        quota: Quota,
        rule: KeepRule,
        provenance: Mapping[str, Any],
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._quota, self._rule, self._provenance = folder, quota, rule, provenance
        self._clock_s = clock_s
        self._rater = FrameValueRater()
        self._store: FrameStore | None = None
        self._lock = threading.Lock()
        self._report = KeeperReport(0, 0, {}, 0, 0, "")
        self._not_kept: Counter[str] = Counter()
        self._last_stamp_ns: int | None = None
        self._refused_at_s: float | None = None
        self._mailbox: Mailbox[KeptFrame] = Mailbox()
        super().__init__(self._mailbox, "keeping", low_priority=True)

    @property
    def report(self) -> KeeperReport:
        """What became of the frames so far."""
        with self._lock:
            return replace(self._report, not_kept=dict(self._not_kept))

    def offer(self, labelled: LabelledSample, detections: Boxes3D | None) -> None:
        """Rates a labelled sample and hands it to the writing thread if its value suffices. Does not wait for the disk.

        Args:
            labelled: the sample and its labels.
            detections: the detector's boxes in the same cloud, LiDAR frame; None if they are not known.
        """
        points = labelled.sample.keyframe.points
        rated = self._rater.rate(labelled.labels.boxes, labelled.labels.quality, detections, points)
        stamp_ns = labelled.sample.stamp_ns
        with self._lock:
            self._report = replace(self._report, num_offered=self._report.num_offered + 1)
            if rated.value < self._rule.min_value:
                self._not_kept["value too low"] += 1
                return
            if self._is_soon(stamp_ns):
                self._not_kept["too soon after another"] += 1
                return
            self._last_stamp_ns = stamp_ns
        self._rater.remember(points)
        frame = KeptFrame(
            labelled.sample, labelled.labels, rated.value, rated.reasons, labelled.degraded, dict(self._provenance)
        )
        if self._mailbox.put(frame):
            with self._lock:
                self._not_kept["the disk is slower than the frames"] += 1

    def _is_soon(self, stamp_ns: int) -> bool:
        """A stamp before the last one belongs to a drive that starts over."""
        if self._last_stamp_ns is None or stamp_ns < self._last_stamp_ns:
            return False
        return stamp_ns - self._last_stamp_ns < self._rule.min_interval_s * 1e9

    def _work(self, item: KeptFrame) -> None:
        if self._refused_at_s is not None and self._clock_s() - self._refused_at_s < self._rule.retry_after_s:
            with self._lock:
                self._not_kept["keeping is paused"] += 1
            return
        self._store = self._store or FrameStore(self._folder, self._quota)
        path = self._store.keep(item)
        self._refused_at_s = None
        with self._lock:
            if path is None:
                self._not_kept["value below all others, and the quota is full"] += 1
            self._report = replace(
                self._report,
                num_kept=self._report.num_kept + (path is not None),
                num_frames=len(self._store.frames),
                num_bytes=self._store.num_bytes,
                problem="",
            )

    def _failed(self, error: Exception) -> bool:
        """Whatever the disk's error is, detection and labelling go on without it."""
        self._refused_at_s = self._clock_s()
        self._store = None  # what is in the folder has to be looked up again
        with self._lock:
            self._not_kept["the disk refused it"] += 1
            self._report = replace(self._report, problem=f"keeping is paused: {error}")
        return True
