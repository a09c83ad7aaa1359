"""The LiDAR points of a drive's objects, gathered along the tracks.

Labels rest on pictures. A track also gives the object's place in frames whose pictures missed it, merged it or gave it
another class, and its points are there all the same (as in Qi et al., "Offboard 3D Object Detection from Point Cloud
Sequences", CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.points.ground_height import GroundHeight
from lidarloop_core.labelling.refining.sight import SightLines

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CloudOf = Callable[[int], npt.NDArray[Any]]
"""Index of a frame → (N, ≥3) points of its keyframe, metres, LiDAR's frame."""

GROUND_M = 0.2
"""Height above the ground up to which points belong to the ground."""

CEILING_M = 5.0
"""Height above the ground from which points are ignored."""


@dataclass(frozen=True)
class Looks:
    """P points on one object in all frames.

    Attributes:
        points: (P, 3) metres, in the frame of the object's box at that time: x along its length, origin at its centre.
        frame: (P,) int64, ascending frame indices.
        sensor: (T, 2) position of the LiDAR in every frame, metres, in the same frame of the box.
    """

    points: FloatArray
    frame: IntArray
    sensor: FloatArray

    def count(self) -> IntArray:
        """(T,) int64, number of points in each frame."""
        return np.bincount(self.frame, minlength=len(self.sensor))


class DriveCloud:
    """The points above the ground of all frames, in the drive's frame; and, if ``with_sight``, all lines of sight."""

    def __init__(
        self, cloud_of: CloudOf, drive_SE3_lidar: Sequence[SE3], max_range_m: float, with_sight: bool = False
    ) -> None:
        self._points, self._trees = [], []
        self._sight = SightLines()
        self.sensors = np.array([pose.translation[:2] for pose in drive_SE3_lidar])
        for frame, pose in enumerate(drive_SE3_lidar):
            points = np.asarray(cloud_of(frame), np.float64)[:, :3]
            points = points[(np.abs(points[:, :2]) < max_range_m + 10.0).all(axis=1)]
            if with_sight:
                self._sight.add(pose.transform(points), pose.translation)
            above = points[:, 2] - GroundHeight(points).at(points[:, :2])
            points = pose.transform(points[(above > GROUND_M) & (above < CEILING_M)])
            self._points.append(points)
            self._trees.append(cKDTree(points[:, :2]))

    def emptied(self, boxes: FloatArray, active: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(T,) bool, the frames in which the LiDAR looked through the place of an object.

        Args:
            boxes: (T, 9) its boxes in the drive's frame.
            active: (T,) bool, frames to look at; the others are False. The lines of sight were kept.
        """
        result = np.zeros(len(boxes), np.bool_)
        for frame in np.flatnonzero(active):
            result[frame] = self._sight.saw_through(int(frame), boxes[frame], self.sensors[frame])
        return result

    def looks(self, boxes: FloatArray, active: npt.NDArray[np.bool_], margin_m: FloatArray) -> list[Looks]:
        """The points of N objects. A point belongs to the first box that contains it, or else to the nearest in reach.

        Args:
            boxes: (N, T, 9) boxes in the drive's frame, most certain object first.
            active: (N, T) bool, frames to look at.
            margin_m: (N, 2) margins around the boxes along and across, metres.
        """
        found: list[tuple[list[FloatArray], list[IntArray]]] = [([], []) for _ in boxes]
        for frame, (points, tree) in enumerate(zip(self._points, self._trees, strict=True)):
            objects = np.flatnonzero(active[:, frame])
            near = tree.query_ball_point(
                boxes[objects, frame, :2], np.hypot(*(boxes[objects, frame, 3:5] / 2 + margin_m[objects]).T)
            )
            depth, owner = np.full(len(points), np.inf), np.full(len(points), -1)
            inside = []
            for i, indices in zip(objects, near, strict=True):
                rows = np.asarray(indices, np.int64)
                local = _in_frame_of(boxes[i, frame], points[rows])
                beside = np.abs(local[:, :2]) - boxes[i, frame, 3:5] / 2
                out = beside.max(axis=1, initial=-np.inf)
                upright = np.abs(local[:, 2]) < boxes[i, frame, 5] / 2 + 1.0
                chosen = (beside < margin_m[i]).all(axis=1) & upright
                rows, local, out = rows[chosen], local[chosen], out[chosen]
                out = np.maximum(out, 0.0)
                better = out < depth[rows]
                depth[rows[better]], owner[rows[better]] = out[better], i
                inside.append((i, rows, local))
            for i, rows, local in inside:
                own = owner[rows] == i
                found[i][0].append(local[own])
                found[i][1].append(np.full(int(own.sum()), frame))
        return [
            Looks(
                np.concatenate([np.zeros((0, 3)), *points]),
                np.concatenate([np.zeros(0, np.int64), *frames]),
                _flat_in_frame_of(boxes[i], self.sensors),
            )
            for i, (points, frames) in enumerate(found)
        ]


def _in_frame_of(box: FloatArray, points: FloatArray) -> FloatArray:
    c, s = np.cos(box[6]), np.sin(box[6])
    offset = points - box[:3]
    return np.column_stack([offset[:, 0] * c + offset[:, 1] * s, offset[:, 1] * c - offset[:, 0] * s, offset[:, 2]])


def _flat_in_frame_of(boxes: FloatArray, places: FloatArray) -> FloatArray:
    """(T, 2) places (T, 2), each in the frame of the box of its row (T, 9)."""
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    offset = places - boxes[:, :2]
    return np.column_stack([offset[:, 0] * c + offset[:, 1] * s, offset[:, 1] * c - offset[:, 0] * s])
