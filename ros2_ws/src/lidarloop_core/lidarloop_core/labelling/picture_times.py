"""Which picture of a camera belongs to a cloud: one rule, on the vehicle and for recordings.

A LiDAR sweeps a camera's view at some moment of its turn, and a camera that is triggered then is always off the cloud's
stamp by about the same time: 100 ms for a camera that looks back from a LiDAR that starts its turn in front. So each
camera has an *offset*, the usual difference between the stamps of a cloud and its nearest picture. The picture of a
cloud is the one nearest to the cloud's stamp plus the offset, if it is no more than ``slop`` off.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

MAX_OFFSET_NS = 150_000_000
"""Largest offset of a camera: a turn of 10 Hz, and a margin."""

SLOP_S = 0.1
"""Usual largest difference, in seconds, between a picture's stamp and the cloud's plus the camera's offset."""

_NUM_OBSERVED = 21
_NUM_KEPT = 30  # pictures: a second of a camera at 30 Hz
_NUM_WAITING = 8  # clouds whose picture has not come

Picture = TypeVar("Picture")


def nearest(stamps_ns: Iterable[int], to_ns: int) -> int | None:
    """The stamp nearest to another; None without any."""
    return min(stamps_ns, key=lambda stamp: abs(stamp - to_ns), default=None)


def usual_offset_ns(offsets_ns: Iterable[int]) -> int:
    """The offset of a camera: the lower median of those that are possible, nanoseconds; 0 without any.

    Args:
        offsets_ns: stamp of the nearest picture less that of the cloud, for clouds of a drive.
    """
    # No mean of two: of offsets of half a period either way, one is right and their middle is not.
    possible = sorted(offset for offset in offsets_ns if abs(offset) <= MAX_OFFSET_NS)
    return possible[(len(possible) - 1) // 2] if possible else 0


class PictureTimes(Generic[Picture]):
    """Joins the pictures of one camera to clouds, as both come. Its offset is learnt from the latest clouds.

    Args:
        slop_s: largest difference, in seconds, between a picture's stamp and the cloud's plus the camera's offset.

    Attributes:
        off_ns: stamp of the picture nearest to the last cloud that got none, less that of the cloud; None where no
            picture had come, or where the last cloud got its picture.
    """

    def __init__(self, slop_s: float) -> None:
        self._slop_ns = round(slop_s * 1e9)
        self._pictures: deque[tuple[int, Picture]] = deque(maxlen=_NUM_KEPT)
        self._waiting: deque[int] = deque(maxlen=_NUM_WAITING)
        self._unobserved: deque[int] = deque(maxlen=_NUM_WAITING)
        self._offsets: deque[int] = deque(maxlen=_NUM_OBSERVED)
        self._last_cloud_ns: int | None = None
        self.off_ns: int | None = None

    @property
    def offset_ns(self) -> int:
        """The camera's offset, nanoseconds; 0 until a cloud and a picture have come."""
        return usual_offset_ns(self._offsets)

    def add_cloud(self, stamp_ns: int) -> list[tuple[int, Picture]]:
        """Adds a cloud's stamp. One before the last drops all there is: time has jumped back.

        Returns:
            Pairs of a cloud's stamp and its picture that are certain now.
        """
        if self._last_cloud_ns is not None and stamp_ns < self._last_cloud_ns:
            for kept in (self._pictures, self._waiting, self._unobserved):
                kept.clear()
        self._last_cloud_ns = stamp_ns
        self._waiting.append(stamp_ns)
        self._unobserved.append(stamp_ns)
        return self._joined()

    def add_picture(self, stamp_ns: int, picture: Picture) -> list[tuple[int, Picture]]:
        """Adds a picture; gives as ``add_cloud``."""
        if self._pictures and stamp_ns < self._pictures[-1][0]:
            self._pictures.clear()
        self._pictures.append((stamp_ns, picture))
        return self._joined()

    def _joined(self) -> list[tuple[int, Picture]]:
        self._observe()
        pairs = []
        for cloud_ns in list(self._waiting):
            found = self._picture_of(cloud_ns)
            if found is not None:
                pairs.append((cloud_ns, found))
                self._waiting.remove(cloud_ns)
        return pairs

    def _observe(self) -> None:
        """Learns the offset of the clouds whose nearest picture is certain."""
        stamps = [stamp for stamp, _ in self._pictures]
        for cloud_ns in list(self._unobserved):
            at_ns = nearest(stamps, cloud_ns)
            if at_ns is not None and self._is_certain(at_ns, cloud_ns, stamps):
                if abs(at_ns - cloud_ns) <= MAX_OFFSET_NS:
                    self._offsets.append(at_ns - cloud_ns)
                self._unobserved.remove(cloud_ns)

    def _picture_of(self, cloud_ns: int) -> Picture | None:
        target_ns = cloud_ns + self.offset_ns
        stamps = [stamp for stamp, _ in self._pictures]
        at_ns = nearest(stamps, target_ns)
        self.off_ns = None if at_ns is None else at_ns - cloud_ns
        reach_ns = self._slop_ns if self._offsets else MAX_OFFSET_NS
        if at_ns is None or abs(at_ns - target_ns) > reach_ns or not self._is_certain(at_ns, target_ns, stamps):
            return None
        self.off_ns = None
        return next(picture for stamp, picture in self._pictures if stamp == at_ns)

    @staticmethod
    def _is_certain(at_ns: int, target_ns: int, stamps_ns: Sequence[int]) -> bool:
        """Whether no later picture can be nearer, at the camera's own period."""
        if stamps_ns[-1] >= target_ns:
            return True
        steps = sorted(b - a for a, b in itertools.pairwise(stamps_ns))
        return bool(steps) and target_ns - at_ns <= steps[len(steps) // 2] / 2
