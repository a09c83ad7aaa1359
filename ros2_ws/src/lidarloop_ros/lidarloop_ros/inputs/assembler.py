"""CloudAssembler: clouds with what belongs to them, images or other LiDARs' clouds, newest first. No ROS in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Cloud = TypeVar("Cloud")
Part = TypeVar("Part")


MAX_WAITING = 4
"""Largest number of clouds that wait: whatever stalls, no backlog builds up."""


@dataclass(frozen=True)
class AssembledCloud(Generic[Cloud, Part]):
    """A cloud with the parts that came for it.

    Attributes:
        stamp_ns: the cloud's stamp, nanoseconds.
        cloud: the cloud's message.
        parts: sensor → its message; sensors whose message is missing are absent.
    """

    stamp_ns: int
    cloud: Cloud
    parts: Mapping[str, Part]


@dataclass
class _Waiting(Generic[Cloud, Part]):
    cloud: Cloud
    since_s: float
    parts: dict[str, Part] = field(default_factory=dict)


class CloudAssembler(Generic[Cloud, Part]):
    """Waits for the parts of a cloud, for a bounded time, and never at the expense of the newest cloud.

    Newest means the last to arrive, whatever its stamp: a recording that starts over goes on at once. A ``Source`` of
    ``node.worker``.

    Args:
        patience_s: sensor → how long, in seconds, its part may come after the cloud; then the cloud goes on without it.
        on_replaced: called, by any thread, with the number of clouds that a newer one has replaced.
    """

    def __init__(self, patience_s: Mapping[str, float], on_replaced: Callable[[int], None] = lambda _: None) -> None:
        self._patience_s = dict(patience_s)
        self._on_replaced = on_replaced
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting[Cloud, Part]] = {}  # in the order they came
        self._closed = False

    def wait_for(self, patience_s: Mapping[str, float]) -> None:
        """Waits for other sensors from now on; arguments as of the class."""
        with self._changed:
            self._patience_s = dict(patience_s)
            self._changed.notify()

    def add_cloud(self, stamp_ns: int, cloud: Cloud) -> None:
        """Adds a cloud; one whose stamp is waiting already is ignored."""
        with self._changed:
            if stamp_ns not in self._waiting:
                self._waiting[stamp_ns] = _Waiting(cloud, time.monotonic())
                self._drop_obsolete()
                self._changed.notify()

    def add_part(self, stamp_ns: int, sensor: str, part: Part) -> None:
        """Adds a part to the cloud of ``stamp_ns``; ignored where that cloud no longer waits."""
        with self._changed:
            if stamp_ns in self._waiting:
                self._waiting[stamp_ns].parts[sensor] = part
                self._drop_obsolete()
                self._changed.notify()

    def take(self) -> AssembledCloud[Cloud, Part] | None:
        """Waits for a cloud that is complete or out of patience, and gives the newest such; older ones are dropped.

        Returns:
            The cloud; None once closed.
        """
        with self._changed:
            while not self._closed:
                self._drop_obsolete()
                now_s = time.monotonic()
                for stamp_ns, waiting in self._waiting.items():
                    if self._deadline_s(waiting) <= now_s:
                        self._drop_up_to(stamp_ns)
                        return AssembledCloud(stamp_ns, waiting.cloud, waiting.parts)
                deadlines_s = [self._deadline_s(waiting) for waiting in self._waiting.values()]
                self._changed.wait(min(deadlines_s) - now_s if deadlines_s else None)
            return None

    def clear(self) -> None:
        """Drops the clouds that wait, after a jump in time."""
        with self._changed:
            self._waiting.clear()

    def close(self) -> None:
        """Ends all waiting. Clouds that wait are dropped."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _deadline_s(self, waiting: _Waiting[Cloud, Part]) -> float:
        """When the patience with the last missing part ends; in the past where no part is missing."""
        missing = self._patience_s.keys() - waiting.parts.keys()
        return waiting.since_s + max((self._patience_s[sensor] for sensor in missing), default=0.0)

    def _drop_obsolete(self) -> None:
        """All clouds before the newest that is ready, and the oldest of too many."""
        now_s = time.monotonic()
        stamps = list(self._waiting)
        ready = [i for i, stamp in enumerate(stamps) if self._deadline_s(self._waiting[stamp]) <= now_s]
        num_obsolete = max(ready[-1] if ready else 0, len(stamps) - MAX_WAITING)
        if num_obsolete > 0:
            self._drop_up_to(stamps[num_obsolete - 1])
            self._on_replaced(num_obsolete)

    def _drop_up_to(self, stamp_ns: int) -> None:
        for stamp in list(self._waiting):
            del self._waiting[stamp]
            if stamp == stamp_ns:
                return
