"""Where a bag's sensors and ego are: static transforms, and the ego's poses by odometry or TF."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io import messages
from lidarloop_core.io.messages import frame_name
from lidarloop_training.data.bag import layout


class FrameTree:
    """The static transforms of a bag."""

    def __init__(self, transform_messages: Iterable[Any]) -> None:
        """Takes ``tf2_msgs/TFMessage``; of a frame that is given twice the last transform counts."""
        self._parents: dict[str, tuple[str, SE3]] = {}
        for message in transform_messages:
            for stamped in message.transforms:
                pose = messages.transform_from_message(stamped.transform)
                self._parents[frame_name(stamped.child_frame_id)] = (frame_name(stamped.header.frame_id), pose)

    def root(self, frame: str) -> str:
        """The frame above all others that ``frame`` is fixed to.

        Raises:
            BagError: the frames form a circle.
        """
        return self._to_root(frame_name(frame))[0]

    def transform(self, dst: str, src: str, path: Path) -> SE3:
        """``dst_SE3_src``. Raises BagError where no static transforms join the two; ``path`` is named in it."""
        dst_root, root_SE3_dst = self._to_root(frame_name(dst))
        src_root, root_SE3_src = self._to_root(frame_name(src))
        if dst_root != src_root:
            known = ", ".join(f"{parent}→{child}" for child, (parent, _) in self._parents.items()) or "none"
            raise BagError(
                f"{path}: no static transform leads from {dst} to {src}; found {known}: record {layout.TF_STATIC}"
            )
        return root_SE3_dst.inverse() @ root_SE3_src

    def _to_root(self, frame: str) -> tuple[str, SE3]:
        pose, seen = SE3.identity(), {frame}
        while frame in self._parents:
            frame, parent_SE3_frame = self._parents[frame]
            pose = parent_SE3_frame @ pose
            if frame in seen:
                raise BagError(f"{layout.TF_STATIC} goes in a circle through {frame}; expected a tree of frames")
            seen.add(frame)
        return frame, pose


def odometry_trajectory(odometry: Iterable[Any]) -> tuple[Trajectory, str | None]:
    """The poses of nav_msgs/Odometry messages, and the frame they are of; None where there is no message."""
    trajectory, frame = Trajectory(), None
    for message in odometry:
        trajectory.add(messages.stamp_ns(message.header), messages.pose_from_message(message.pose.pose))
        frame = frame_name(message.child_frame_id)
    return trajectory, frame


def tf_trajectory(transform_messages: Iterable[Any], ego_frame: str) -> Trajectory | None:
    """The ego's poses on ``/tf``, in the frame right above it; None where there are none.

    The frame right above, usually odom, moves without jumps, which is what merging sweeps needs; a localisation's map
    frame, further up, is corrected in leaps.
    """
    trajectory = Trajectory()
    for message in transform_messages:
        for stamped in message.transforms:
            if frame_name(stamped.child_frame_id) == ego_frame:
                pose = messages.transform_from_message(stamped.transform)
                trajectory.add(messages.stamp_ns(stamped.header), pose)
    return trajectory if len(trajectory) else None
