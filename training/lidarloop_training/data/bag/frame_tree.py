"""Where a bag's sensors and ego are: mountings over time, and the ego's poses by odometry or TF."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.errors import BagError, PoseError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io import messages
from lidarloop_core.io.constant_edges import MIN_SEEN
from lidarloop_core.io.messages import frame_name
from lidarloop_training.data.bag import layout

WORLD_FRAMES = frozenset({"earth", "map", "odom", "world"})
"""Frames that do not move with the vehicle (REP-105): what hangs below them is no mounting, even if it stands still."""

_Timed = tuple[int, Any]  # time of recording in nanoseconds, message


class FrameTree:
    """Mountings of a bag's sensors: each transform holds from its recording until the next one of the same frame.

    Before its first recording a transform holds too, for a latched topic may be recorded late.
    """

    def __init__(self, transform_messages: Iterable[_Timed], problems: Problems | None = None) -> None:
        """Takes (time of recording in nanoseconds, ``tf2_msgs/TFMessage``), in order of time."""
        self._edges: dict[str, list[tuple[int, str, SE3]]] = {}
        for time_ns, child, parent, pose in _edges(transform_messages, problems or Problems()):
            self._edges.setdefault(child, []).append((time_ns, parent, pose))

    def __contains__(self, frame: str) -> bool:
        return frame_name(frame) in self._edges

    def add_constant(self, transform_messages: Iterable[_Timed], frames: Iterable[str]) -> list[str]:
        """Takes the edges of ``/tf`` that never change for mountings, above frames that have none so far.

        Args:
            transform_messages: as in the constructor, of ``/tf``.
            frames: sensors' frames without a mounting.

        Returns:
            What was taken, each as "parent→child".
        """
        first: dict[str, tuple[str, SE3]] = {}
        counts: Counter[str] = Counter()
        moving: set[str] = set()
        for _, child, parent, pose in _edges(transform_messages, Problems()):
            counts[child] += 1
            known_parent, known_pose = first.setdefault(child, (parent, pose))
            if parent != known_parent or not np.allclose(pose.matrix, known_pose.matrix, rtol=0, atol=1e-6):
                moving.add(child)
        taken = []
        for frame in map(frame_name, frames):
            child = self.root(frame)
            while counts[child] >= MIN_SEEN and child not in moving and first[child][0] not in WORLD_FRAMES:
                parent, pose = first[child]
                self._edges[child] = [(0, parent, pose)]
                taken.append(f"{parent}→{child}")
                child = self.root(child)
        return taken

    def root(self, frame: str, at_ns: int = 0) -> str:
        """The frame above all others that ``frame`` is fixed to.

        Raises:
            BagError: the frames form a circle.
        """
        return self._to_root(frame_name(frame), at_ns)[0]

    def transform(self, dst: str, src: str, path: Path, at_ns: int = 0) -> SE3:
        """``dst_SE3_src`` at a time of recording, nanoseconds.

        Raises:
            BagError: no transforms join the two; ``path`` is named in it.
        """
        dst_root, root_SE3_dst = self._to_root(frame_name(dst), at_ns)
        src_root, root_SE3_src = self._to_root(frame_name(src), at_ns)
        if dst_root != src_root:
            known = ", ".join(f"{edges[0][1]}→{child}" for child, edges in self._edges.items()) or "none"
            raise BagError(
                f"{path}: no static transform leads from {dst} to {src}; found {known}: record {layout.TF_STATIC}"
            )
        return root_SE3_dst.inverse() @ root_SE3_src

    def _to_root(self, frame: str, at_ns: int) -> tuple[str, SE3]:
        pose, seen = SE3.identity(), {frame}
        while frame in self._edges:
            edges = self._edges[frame]
            _, frame, parent_SE3_frame = edges[max(bisect_right(edges, at_ns, key=lambda edge: edge[0]) - 1, 0)]
            pose = parent_SE3_frame @ pose
            if frame in seen:
                raise BagError(f"{layout.TF_STATIC} goes in a circle through {frame}; expected a tree of frames")
            seen.add(frame)
        return frame, pose


@dataclass
class Problems:
    """What is left out while a bag is read: how much of what, with the first instance.

    Attributes:
        counts: description → (number of messages, the first one's reason).
    """

    counts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, what: str, reason: str) -> None:
        number, first = self.counts.get(what, (0, reason))
        self.counts[what] = (number + 1, first)

    def lines(self) -> list[str]:
        """One line each, for warnings."""
        return [f"{number} {what} left out, the first: {first}" for what, (number, first) in self.counts.items()]


def odometry_trajectory(
    odometry: Iterable[tuple[int, Any]], topic: str, problems: Problems
) -> tuple[Trajectory, str | None]:
    """The poses of nav_msgs/Odometry messages, and the frame they are of; None where there is no message.

    Args:
        odometry: (stamp in nanoseconds, message) of each.
        topic: their topic.
        problems: where poses that are none are counted.
    """
    trajectory, frame = Trajectory(), None
    for stamp_ns, message in odometry:
        try:
            trajectory.add(stamp_ns, messages.pose_from_message(message.pose.pose))
        except PoseError as error:
            problems.add(f"poses of {topic}", str(error))
        frame = frame_name(message.child_frame_id)
    return trajectory, frame


def tf_trajectory(
    transform_messages: Iterable[_Timed], ego_frame: str, problems: Problems, *, by_reception: bool = False
) -> Trajectory | None:
    """The ego's poses on ``/tf``, in the frame right above it; None where there are none.

    The frame right above, usually odom, moves without jumps, which is what merging sweeps needs; a localisation's map
    frame, further up, is corrected in leaps.

    Args:
        transform_messages: (time of recording in nanoseconds, tf2_msgs/TFMessage) of each.
        ego_frame: the frame that all sensors are fixed to.
        problems: where poses that are none are counted.
        by_reception: whether poses are timed by their recording instead of their stamps.
    """
    trajectory = Trajectory()
    for time_ns, message in transform_messages:
        for stamped in message.transforms:
            if frame_name(stamped.child_frame_id) == ego_frame:
                try:
                    pose = messages.transform_from_message(stamped.transform)
                except PoseError as error:
                    problems.add(f"poses of {ego_frame} on {layout.TF}", str(error))
                    continue
                trajectory.add(time_ns if by_reception else messages.stamp_ns(stamped.header), pose)
    return trajectory if len(trajectory) else None


def _edges(transform_messages: Iterable[_Timed], problems: Problems) -> Iterator[tuple[int, str, str, SE3]]:
    """(time, child, parent, parent_SE3_child) of each transform that is one."""
    for time_ns, message in transform_messages:
        for stamped in message.transforms:
            child, parent = frame_name(stamped.child_frame_id), frame_name(stamped.header.frame_id)
            try:
                yield time_ns, child, parent, messages.transform_from_message(stamped.transform)
            except PoseError as error:
                problems.add(f"transforms {parent}→{child}", str(error))
