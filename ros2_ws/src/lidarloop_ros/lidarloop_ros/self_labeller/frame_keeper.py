"""FrameKeeper: writes the frames worth keeping, in a thread of its own, and never lets a bad disk hold anybody up."""

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
from lidarloop_ros.node.thread_priority import let_others_go_first
from lidarloop_ros.self_labeller.pipeline import LabelledFrame


@dataclass(frozen=True)
class KeepRule:
    """Which frames are kept.

    Attributes:
        min_value: least value of a frame, in [0, 1]; see ``FrameValueRater``.
        min_interval_s: between the stamps of two kept frames, so that a slow scene is not kept frame by frame.
        retry_after_s: how long to leave a disk alone that has refused a frame.
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
        not_kept: reason → frames.
        num_frames, num_bytes: in the folder now.
        problem: why keeping is paused, or "".
    """

    num_offered: int
    num_kept: int
    not_kept: Mapping[str, int]
    num_frames: int
    num_bytes: int
    problem: str


class FrameKeeper:
    """Runs from its construction until ``stop``. The folder need not be there, nor writable, yet.

    Args:
        folder: where frames are kept.
        quota, rule: how much, and what.
        provenance: written into each frame.
        clock_s: for tests.
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
        self._thread = threading.Thread(target=self._run, name="keeping", daemon=True)
        self._thread.start()

    @property
    def report(self) -> KeeperReport:
        with self._lock:
            return replace(self._report, not_kept=dict(self._not_kept))

    def offer(self, frame: LabelledFrame, detections: Boxes3D | None) -> None:
        """Rates a frame; what is worth it is handed to the writing thread. Returns at once."""
        points = frame.sample.keyframe.points
        found = self._rater.rate(frame.labels.boxes, frame.labels.quality, detections, points)
        with self._lock:
            self._report = replace(self._report, num_offered=self._report.num_offered + 1)
            if found.value < self._rule.min_value:
                self._not_kept["not worth it"] += 1
                return
            if self._is_soon(frame.sample.stamp_ns):
                self._not_kept["soon after another"] += 1
                return
            self._last_stamp_ns = frame.sample.stamp_ns
        self._rater.remember(points)
        kept = KeptFrame(frame.sample, frame.labels, found.value, found.reasons, frame.degraded, dict(self._provenance))
        if self._mailbox.put(kept):
            with self._lock:
                self._not_kept["the disk is slower than the frames"] += 1

    def stop(self) -> None:
        """Ends the thread; a frame that it is writing is finished."""
        self._mailbox.close()
        self._thread.join()

    def _is_soon(self, stamp_ns: int) -> bool:
        """A stamp before the last one is a drive that starts over."""
        if self._last_stamp_ns is None or stamp_ns < self._last_stamp_ns:
            return False
        return stamp_ns - self._last_stamp_ns < self._rule.min_interval_s * 1e9

    def _run(self) -> None:
        let_others_go_first()
        while (frame := self._mailbox.take()) is not None:
            if self._refused_at_s is not None and self._clock_s() - self._refused_at_s < self._rule.retry_after_s:
                with self._lock:
                    self._not_kept["keeping is paused"] += 1
                continue
            self._keep(frame)

    def _keep(self, frame: KeptFrame) -> None:
        try:
            self._store = self._store or FrameStore(self._folder, self._quota)
            path = self._store.keep(frame)
        except Exception as error:  # whatever it is, detection and labelling go on without it
            self._refused_at_s = self._clock_s()
            self._store = None  # what is in the folder has to be looked up again
            with self._lock:
                self._not_kept["the disk refused it"] += 1
                self._report = replace(self._report, problem=f"keeping is paused: {error}")
            return
        self._refused_at_s = None
        with self._lock:
            if path is None:
                self._not_kept["worth less than all others, and the quota is full"] += 1
            self._report = replace(
                self._report,
                num_kept=self._report.num_kept + (path is not None),
                num_frames=len(self._store.frames),
                num_bytes=self._store.num_bytes,
                problem="",
            )
