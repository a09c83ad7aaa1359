"""FrameAssembler: clouds and the pictures that belong to them, handed on newest first. No ROS in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Cloud = TypeVar("Cloud")
Picture = TypeVar("Picture")


@dataclass(frozen=True)
class AssembledFrame(Generic[Cloud, Picture]):
    """A cloud with the pictures that came for it.

    Attributes:
        stamp_ns: of the cloud.
        pictures: camera → picture; those that are missing are not in it.
    """

    stamp_ns: int
    cloud: Cloud
    pictures: Mapping[str, Picture]


@dataclass
class _Waiting(Generic[Cloud, Picture]):
    cloud: Cloud
    deadline_s: float
    pictures: dict[str, Picture] = field(default_factory=dict)


class FrameAssembler(Generic[Cloud, Picture]):
    """Waits for the pictures of a cloud, but never long, and never for a camera at the expense of the newest cloud.

    Args:
        cameras: whose pictures are expected.
        patience_s: how long after a cloud its pictures may come; then it goes on without those that are missing.
    """

    def __init__(self, cameras: Sequence[str], patience_s: float) -> None:
        self._cameras = frozenset(cameras)
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting[Cloud, Picture]] = {}
        self._closed = False

    def add_cloud(self, stamp_ns: int, cloud: Cloud) -> None:
        """A cloud has come."""
        with self._changed:
            if stamp_ns not in self._waiting:
                self._waiting[stamp_ns] = _Waiting(cloud, time.monotonic() + self._patience_s)
                self._changed.notify()

    def add_picture(self, stamp_ns: int, camera: str, picture: Picture) -> None:
        """A picture has come that belongs to the cloud of ``stamp_ns``; too late, and nobody waits for it."""
        with self._changed:
            if stamp_ns in self._waiting:
                self._waiting[stamp_ns].pictures[camera] = picture
                self._changed.notify()

    def take(self) -> AssembledFrame[Cloud, Picture] | None:
        """Waits for a frame that is complete or out of patience, the newest if there are several; older ones are
        forgotten. None once closed."""
        with self._changed:
            while not self._closed:
                now_s = time.monotonic()
                for stamp_ns, waiting in sorted(self._waiting.items(), reverse=True):
                    if self._cameras <= waiting.pictures.keys() or waiting.deadline_s <= now_s:
                        self._waiting = {s: w for s, w in self._waiting.items() if s > stamp_ns}
                        return AssembledFrame(stamp_ns, waiting.cloud, waiting.pictures)
                deadlines_s = [waiting.deadline_s for waiting in self._waiting.values()]
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
