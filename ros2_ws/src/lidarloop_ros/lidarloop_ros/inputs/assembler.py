"""FrameAssembler: clouds and what belongs to them, pictures or other LiDARs' clouds, newest first. No ROS in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Cloud = TypeVar("Cloud")
Part = TypeVar("Part")


MAX_WAITING = 4
"""Clouds that wait at most: whatever hangs, no backlog builds up."""


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

    Newest means the last to come, whatever its stamp: a recording that starts over goes on at once.

    Args:
        patience_s: sensor → how long after the cloud its part may come; then the cloud goes on without it.
        on_replaced: called, in whatever thread, with the number of clouds that a newer one has made obsolete.
    """

    def __init__(self, patience_s: Mapping[str, float], on_replaced: Callable[[int], None] = lambda _: None) -> None:
        self._patience_s = dict(patience_s)
        self._on_replaced = on_replaced
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting[Cloud, Part]] = {}  # in the order they came
        self._closed = False

    def add_cloud(self, stamp_ns: int, cloud: Cloud) -> None:
        """A cloud has come."""
        with self._changed:
            if stamp_ns not in self._waiting:
                self._waiting[stamp_ns] = _Waiting(cloud, time.monotonic())
                self._drop_obsolete()
                self._changed.notify()

    def add_part(self, stamp_ns: int, sensor: str, part: Part) -> None:
        """A part has come that belongs to the cloud of ``stamp_ns``; too late, and nobody waits for it."""
        with self._changed:
            if stamp_ns in self._waiting:
                self._waiting[stamp_ns].parts[sensor] = part
                self._drop_obsolete()
                self._changed.notify()

    def take(self) -> AssembledFrame[Cloud, Part] | None:
        """Waits for a frame that is complete or out of patience, the newest if there are several; older ones are
        forgotten. None once closed."""
        with self._changed:
            while not self._closed:
                self._drop_obsolete()
                now_s = time.monotonic()
                for stamp_ns, waiting in self._waiting.items():
                    if self._deadline_s(waiting) <= now_s:
                        self._forget_up_to(stamp_ns)
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
            self._waiting.clear()
            self._changed.notify_all()

    def _deadline_s(self, waiting: _Waiting[Cloud, Part]) -> float:
        """When the patience with the last missing part ends; in the past, where none is missing."""
        missing = self._patience_s.keys() - waiting.parts.keys()
        return waiting.since_s + max((self._patience_s[sensor] for sensor in missing), default=0.0)

    def _drop_obsolete(self) -> None:
        """All clouds before the newest that is ready, and the oldest of too many."""
        now_s = time.monotonic()
        stamps = list(self._waiting)
        ready = [i for i, stamp in enumerate(stamps) if self._deadline_s(self._waiting[stamp]) <= now_s]
        num_obsolete = max(ready[-1] if ready else 0, len(stamps) - MAX_WAITING)
        if num_obsolete > 0:
            self._forget_up_to(stamps[num_obsolete - 1])
            self._on_replaced(num_obsolete)

    def _forget_up_to(self, stamp_ns: int) -> None:
        for stamp in list(self._waiting):
            del self._waiting[stamp]
            if stamp == stamp_ns:
                return
