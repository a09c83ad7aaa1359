"""ConstantEdges: the transforms between frames that do not change: those of /tf_static, and those that stay on /tf.

Bags converted from ROS 1 and some drivers publish where a sensor is mounted on /tf again and again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import frame_name, transform_from_message

MIN_SEEN = 3
"""A transform on /tf counts as constant once so many equal ones have come."""
# Metres, and parts of a unit quaternion: far below what a moving joint changes by, above rounding.
_TOLERANCE = 1e-6


@dataclass
class _Edge:
    parent: str
    values: npt.NDArray[np.float64]
    parent_SE3_child: SE3
    num_seen: int
    is_static: bool
    moves: bool = False

    @property
    def is_constant(self) -> bool:
        return self.is_static or (self.num_seen >= MIN_SEEN and not self.moves)


class ConstantEdges:
    """Collects transforms, and joins the constant ones. Not safe to use from several threads at once."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def add(self, message: Any, *, is_static: bool) -> None:
        """Takes a tf2_msgs/TFMessage; transforms that are none (not finite, no rotation) are left out.

        Args:
            message: transforms as /tf_static or /tf carries them.
            is_static: whether it is of /tf_static: the last one of a frame counts.
        """
        for stamped in message.transforms:
            child, parent = frame_name(stamped.child_frame_id), frame_name(stamped.header.frame_id)
            known = self._edges.get(child)
            if known is not None and not is_static and (known.is_static or known.moves):
                continue
            values = _values(stamped.transform)
            if known is None or is_static:
                try:
                    pose = transform_from_message(stamped.transform)
                except ValueError:
                    continue
                self._edges[child] = _Edge(parent, values, pose, 1, is_static)
            elif known.parent == parent and np.abs(known.values - values).max() <= _TOLERANCE:
                known.num_seen += 1
            else:
                known.moves = True

    def between(self, dst: str, src: str) -> SE3:
        """``dst_SE3_src``; of a frame to itself the identity, whether it is known or not.

        Raises:
            LookupError: no constant transforms join the two.
        """
        dst, src = frame_name(dst), frame_name(src)
        if dst == src:
            return SE3.identity()
        above_dst, above_src = self._above(dst), self._above(src)
        common = next((frame for frame in above_src if frame in above_dst), None)
        if common is None:
            raise LookupError(self._why_not(dst, src, [*above_dst, *above_src]))
        return above_dst[common].inverse() @ above_src[common]

    def on_tf(self, dst: str, src: str) -> bool:
        """Whether a transform of /tf is among those that lead from ``dst`` to ``src``."""
        above_dst, above_src = self._above(frame_name(dst)), self._above(frame_name(src))
        way = above_dst.keys() ^ above_src.keys()
        return any(not edge.is_static for frame in way if (edge := self._edges.get(frame)) is not None)

    def _above(self, frame: str) -> dict[str, SE3]:
        """``ancestor_SE3_frame`` of the frame itself and all that it is fixed to, nearest first."""
        above = {frame: SE3.identity()}
        while (edge := self._edges.get(frame)) is not None and edge.is_constant and edge.parent not in above:
            above[edge.parent] = edge.parent_SE3_child @ above[frame]
            frame = edge.parent
        return above

    def _why_not(self, dst: str, src: str, frames: list[str]) -> str:
        moving = [f for f in frames if (edge := self._edges.get(f)) is not None and edge.moves]
        if moving:
            return f"'{moving[0]}' moves in '{self._edges[moving[0]].parent}' on /tf"
        unknown = [f for f in (dst, src) if f not in self._edges and all(e.parent != f for e in self._edges.values())]
        return f"frame '{unknown[0]}' is unknown" if unknown else f"'{dst}' and '{src}' are not joined"


def _values(transform: Any) -> npt.NDArray[np.float64]:
    """(7,) translation and quaternion, of which q and -q are one rotation."""
    t, q = transform.translation, transform.rotation
    sign = -1.0 if q.w < 0 else 1.0
    return np.array([t.x, t.y, t.z, sign * q.x, sign * q.y, sign * q.z, sign * q.w])
