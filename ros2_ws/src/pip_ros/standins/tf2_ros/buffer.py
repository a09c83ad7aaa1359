"""The tree of frames over time."""

from __future__ import annotations

import bisect
import threading
import time as wall_clock

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from tf2_ros.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.rigid import IDENTITY, Rigid, interpolate


class Buffer:
    """Keeps the transforms of the last seconds, and static ones for ever. Safe to use from several threads.

    Args:
        cache_time: how long transforms are kept, counted from the newest of each frame; ten seconds when not given.
    """

    def __init__(self, cache_time: Duration | None = None) -> None:
        self._cache_time_ns = (cache_time or Duration(seconds=10)).nanoseconds
        self._histories: dict[str, _History] = {}
        self._frames: set[str] = set()
        self._changed = threading.Condition()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Store the pose of `child_frame_id` in `header.frame_id` at its stamp; a broken one is logged and ignored."""
        self._store(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Store a transform that holds at all times."""
        self._store(transform, authority, is_static=True)

    def clear(self) -> None:
        """Forget all but the static transforms."""
        with self._changed:
            for history in self._histories.values():
                history.clear()

    def can_transform(self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None) -> bool:
        """Whether `lookup_transform` would give a transform now, or within `timeout`."""
        try:
            self.lookup_transform(target_frame, source_frame, time, timeout)
        except TransformException:
            return False
        return True

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> TransformStamped:
        """`target_SE3_source` at `time`, interpolated; the newest common time for `Time()`.

        Raises:
            InvalidArgumentException: an empty frame name, or one with a leading slash.
            LookupException: a frame is unknown.
            ConnectivityException: the frames are not in one tree.
            ExtrapolationException: `time` is not between the stamps stored.
        """
        deadline_s = wall_clock.monotonic() + (timeout.nanoseconds / 1e9 if timeout is not None else 0.0)
        with self._changed:
            while True:
                try:
                    return self._look_up(target_frame, source_frame, time.nanoseconds)
                except TransformException:
                    left_s = deadline_s - wall_clock.monotonic()
                    if left_s <= 0:
                        raise
                    self._changed.wait(left_s)

    def _store(self, transform: TransformStamped, authority: str, *, is_static: bool) -> None:
        parent, child = transform.header.frame_id.removeprefix("/"), transform.child_frame_id.removeprefix("/")
        stamp_ns = Time.from_msg(transform.header.stamp).nanoseconds
        pose = Rigid.from_message(transform.transform)
        fault = _fault(parent, child, pose)
        with self._changed:
            if not fault:
                if child not in self._histories or self._histories[child].is_static != is_static:
                    self._histories[child] = _History(is_static, self._cache_time_ns)
                self._frames |= {parent, child}
                fault = self._histories[child].insert(stamp_ns, parent, pose)
            self._changed.notify_all()
        if fault:
            get_logger("tf2").error(f"transform of '{child}' from {authority} ignored: {fault}")

    def _look_up(self, target_frame: str, source_frame: str, stamp_ns: int) -> TransformStamped:
        # Before any check: a frame to itself is the identity, known or not.
        if target_frame == source_frame:
            known = self._histories.get(source_frame)
            newest_ns = 0 if known is None or known.is_static else known.newest_stamp_ns
            return _stamped(target_frame, source_frame, stamp_ns or newest_ns, IDENTITY)
        for frame in (target_frame, source_frame):
            if not frame or frame.startswith("/"):
                raise InvalidArgumentException(f"'{frame}': a frame name is not empty and has no leading slash")
            if frame not in self._frames:
                raise LookupException(f"frame '{frame}' does not exist")
        stamp_ns = stamp_ns or self._newest_common_stamp_ns(target_frame, source_frame)
        target_chain, target_end = self._chain(target_frame, stamp_ns)
        source_chain, source_end = self._chain(source_frame, stamp_ns)
        common = next((frame for frame in source_chain if frame in target_chain), None)
        if common is None:
            ends = " and ".join(end for end in (source_end, target_end) if end)
            if ends:
                raise ExtrapolationException(f"from '{source_frame}' to '{target_frame}': {ends}")
            raise ConnectivityException(f"'{source_frame}' and '{target_frame}' are not in one tree")
        return _stamped(target_frame, source_frame, stamp_ns, target_chain[common].inverse() @ source_chain[common])

    def _chain(self, frame: str, stamp_ns: int) -> tuple[dict[str, Rigid], str]:
        """`ancestor_SE3_frame` of each ancestor, nearest first, and why the chain ends early ("" when at its root)."""
        chain = {frame: IDENTITY}
        while (history := self._histories.get(frame)) is not None:
            try:
                parent, pose = history.at(stamp_ns)
            except ExtrapolationException as error:
                return chain, f"{frame}: {error}"
            if parent in chain:
                raise LookupException(f"the tree has a loop at '{parent}'")
            chain[parent] = pose @ chain[frame]
            frame = parent
        return chain, ""

    def _newest_common_stamp_ns(self, target_frame: str, source_frame: str) -> int:
        """The oldest of the newest stamps on the way from source to target; 0 where all of it is static."""
        target_line, source_line = self._line(target_frame), self._line(source_frame)
        common = next((frame for frame in source_line if frame in target_line), None)
        if common is None:
            raise ConnectivityException(f"'{source_frame}' and '{target_frame}' are not in one tree")
        way = source_line[: source_line.index(common)] + target_line[: target_line.index(common)]
        histories = [self._histories[frame] for frame in way if frame in self._histories]
        return min((history.newest_stamp_ns for history in histories if not history.is_static), default=0)

    def _line(self, frame: str) -> list[str]:
        line = [frame]
        while (history := self._histories.get(line[-1])) is not None and history.newest_parent:
            if history.newest_parent in line:
                raise LookupException(f"the tree has a loop at '{history.newest_parent}'")
            line.append(history.newest_parent)
        return line


def _stamped(target_frame: str, source_frame: str, stamp_ns: int, pose: Rigid) -> TransformStamped:
    result = TransformStamped(child_frame_id=source_frame)
    result.header.frame_id = target_frame
    result.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    result.transform = pose.to_message()
    return result


class _History:
    """The poses of one frame in its parent, oldest first; a static one is a single pose without a time."""

    def __init__(self, is_static: bool, cache_time_ns: int) -> None:
        self.is_static = is_static
        self._cache_time_ns = cache_time_ns
        self._stamps_ns: list[int] = []
        self._poses: list[tuple[str, Rigid]] = []

    @property
    def newest_stamp_ns(self) -> int:
        return self._stamps_ns[-1] if self._stamps_ns else 0

    @property
    def newest_parent(self) -> str:
        return self._poses[-1][0] if self._poses else ""

    def insert(self, stamp_ns: int, parent: str, pose: Rigid) -> str:
        """Returns why the pose was not taken, else ""."""
        if self.is_static:
            self._stamps_ns, self._poses = [0], [(parent, pose)]
            return ""
        if self._stamps_ns and stamp_ns < self.newest_stamp_ns - self._cache_time_ns:
            return f"it is more than {self._cache_time_ns / 1e9:g} s older than the newest one"
        place = bisect.bisect_left(self._stamps_ns, stamp_ns)
        is_repeated = place < len(self._stamps_ns) and self._stamps_ns[place] == stamp_ns
        self._stamps_ns[place : place + is_repeated] = [stamp_ns]
        self._poses[place : place + is_repeated] = [(parent, pose)]
        num_outdated = bisect.bisect_left(self._stamps_ns, self.newest_stamp_ns - self._cache_time_ns)
        del self._stamps_ns[:num_outdated], self._poses[:num_outdated]
        return ""

    def clear(self) -> None:
        if not self.is_static:
            self._stamps_ns, self._poses = [], []

    def at(self, stamp_ns: int) -> tuple[str, Rigid]:
        """Parent and pose at a time; across a change of parent the older pose holds."""
        if self.is_static:
            return self._poses[0]
        if not self._stamps_ns or not self._stamps_ns[0] <= stamp_ns <= self._stamps_ns[-1]:
            known = f"{self._stamps_ns[0]} to {self._stamps_ns[-1]} ns" if self._stamps_ns else "nothing"
            raise ExtrapolationException(f"requested {stamp_ns} ns, in the buffer: {known}")
        after = bisect.bisect_left(self._stamps_ns, stamp_ns)
        if self._stamps_ns[after] == stamp_ns:
            return self._poses[after]
        (parent, older), (newer_parent, newer) = self._poses[after - 1 : after + 1]
        if parent != newer_parent:
            return parent, older
        start_ns, end_ns = self._stamps_ns[after - 1 : after + 1]
        return parent, interpolate(older, newer, (stamp_ns - start_ns) / (end_ns - start_ns))


def _fault(parent: str, child: str, pose: Rigid) -> str:
    if not parent or not child:
        return "a frame name is empty"
    if parent == child:
        return "it is its own parent"
    if not np.isfinite(np.concatenate(pose)).all():
        return "it has a value that is not finite, or a quaternion of zeros"
    return ""
