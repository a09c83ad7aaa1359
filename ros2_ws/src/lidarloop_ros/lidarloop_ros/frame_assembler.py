"""FrameAssembler: clouds and what belongs to them, pictures or other LiDARs' clouds, newest first. No ROS in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Cloud = TypeVar("Cloud")
Part = TypeVar("Part")


@dataclass(frozen=True)
class AssembledFrame(Generic[Cloud, Part]):
    """A cloud with the parts that came for it.

    Attributes:
        stamp_ns: of the cloud.
        parts: sensor → its message; those that are missing are not in it.
    """

    stamp_ns: int
    cloud: Cloud
    parts: Mapping[str, Part]


@dataclass
class _Waiting(Generic[Cloud, Part]):
    cloud: Cloud
    since_s: float
    parts: dict[str, Part] = field(default_factory=dict)


class FrameAssembler(Generic[Cloud, Part]):
    """Waits for the parts of a cloud, but never long, and for none of them at the expense of the newest cloud.

    Args:
        patience_s: sensor → how long after the cloud its part may come; then the cloud goes on without it.
    """

    def __init__(self, patience_s: Mapping[str, float]) -> None:
        self._patience_s = dict(patience_s)
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting[Cloud, Part]] = {}
        self._closed = False

    def add_cloud(self, stamp_ns: int, cloud: Cloud) -> None:
        """A cloud has come."""
        with self._changed:
            if stamp_ns not in self._waiting:
                self._waiting[stamp_ns] = _Waiting(cloud, time.monotonic())
                self._changed.notify()

    def add_part(self, stamp_ns: int, sensor: str, part: Part) -> None:
        """A part has come that belongs to the cloud of ``stamp_ns``; too late, and nobody waits for it."""
        with self._changed:
            if stamp_ns in self._waiting:
                self._waiting[stamp_ns].parts[sensor] = part
                self._changed.notify()

    def take(self) -> AssembledFrame[Cloud, Part] | None:
        """Waits for a frame that is complete or out of patience, the newest if there are several; older ones are
        forgotten. None once closed."""
        with self._changed:
            while not self._closed:
                now_s = time.monotonic()
                for stamp_ns, waiting in sorted(self._waiting.items(), reverse=True):
                    if self._deadline_s(waiting) <= now_s:
                        self._waiting = {s: w for s, w in self._waiting.items() if s > stamp_ns}
                        return AssembledFrame(stamp_ns, waiting.cloud, waiting.parts)
                deadlines_s = [self._deadline_s(waiting) for waiting in self._waiting.values()]
                self._changed.wait(min(deadlines_s) - now_s if deadlines_s else None)
            return None

    def clear(self) -> None:
        """Forgets what is waiting, after a jump in time."""
        with self._changed:
            self._waiting.clear()

    def close(self) -> None:
        """Wakes the taker for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _deadline_s(self, waiting: _Waiting[Cloud, Part]) -> float:
        """When the patience with the last missing part ends; now, where none is missing."""
        missing = self._patience_s.keys() - waiting.parts.keys()
        return waiting.since_s + max((self._patience_s[sensor] for sensor in missing), default=0.0)
