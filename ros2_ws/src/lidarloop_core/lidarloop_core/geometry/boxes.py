"""3D boxes: the one convention of the project.

Columns ``x y z length width height yaw vx vy``: (x, y, z) is the box centre in metres; length lies along the box's own
x axis (its heading), width along y, height along z; yaw in radians, counter-clockwise from +x about +z (REP-103);
velocity in metres per second relative to the ground, along the axes of the frame the box is given in.
Every data set's own habit is turned into this one in its reader, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3

BOX_COLUMNS = ("x", "y", "z", "length", "width", "height", "yaw", "vx", "vy")

_WINDOW = 1.0001  # so that rounding does not dismiss a corner


def wrap_angle(angle_rad: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Angles of any shape, radians, wrapped to [-π, π): same shape."""
    wrapped: npt.NDArray[Any] = (angle_rad + np.pi) % (2 * np.pi) - np.pi
    return wrapped


@dataclass(frozen=True)
class Boxes3D:
    """N boxes of one frame.

    Attributes:
        values: (N, 9) float32, columns ``BOX_COLUMNS``. An unknown velocity is NaN.
        scores: (N,) float32 in [0, 1]; 1 for ground truth.
        labels: (N,) int64, indices into ``class_names``.
        class_names: names that the labels index.
    """

    values: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float32).reshape(-1, len(BOX_COLUMNS))
        scores = np.asarray(self.scores, dtype=np.float32).reshape(-1)
        labels = np.asarray(self.labels, dtype=np.int64).reshape(-1)
        if not len(values) == len(scores) == len(labels):
            raise ValueError(
                f"Boxes3D received {len(values)} boxes, {len(scores)} scores and {len(labels)} labels; "
                "expected as many of each"
            )
        if len(labels) and (labels.min() < 0 or labels.max() >= len(self.class_names)):
            raise ValueError(
                f"Boxes3D received labels {labels.min()}…{labels.max()}; expected 0…{len(self.class_names) - 1} "
                f"({', '.join(self.class_names)})"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: npt.NDArray[Any] | slice | Sequence[int]) -> Boxes3D:
        """The boxes that a mask, an index array or a slice selects."""
        return Boxes3D(self.values[index], self.scores[index], self.labels[index], self.class_names)

    @staticmethod
    def empty(class_names: tuple[str, ...]) -> Boxes3D:
        return Boxes3D(np.zeros((0, 9), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), class_names)

    @property
    def centers(self) -> npt.NDArray[np.float32]:
        """(N, 3) metres."""
        return self.values[:, 0:3]

    @property
    def dimensions(self) -> npt.NDArray[np.float32]:
        """(N, 3) length, width, height in metres."""
        return self.values[:, 3:6]

    @property
    def yaws(self) -> npt.NDArray[np.float32]:
        """(N,) radians."""
        return self.values[:, 6]

    @property
    def velocities(self) -> npt.NDArray[np.float32]:
        """(N, 2) metres per second over the ground."""
        return self.values[:, 7:9]

    @property
    def names(self) -> list[str]:
        """The class name of each box."""
        return [self.class_names[label] for label in self.labels]

    def transformed(self, dst_SE3_src: SE3) -> Boxes3D:
        """The same boxes in frame *dst*. They stay upright: only the yaw part of the rotation applies to them."""
        values = self.values.copy()
        values[:, 0:3] = dst_SE3_src.transform(self.centers)
        values[:, 6] = dst_SE3_src.rotate_yaws(self.yaws)
        velocity = np.concatenate([self.velocities, np.zeros((len(self), 1), np.float32)], axis=1)
        values[:, 7:9] = dst_SE3_src.rotate(velocity)[:, :2]
        return Boxes3D(values, self.scores, self.labels, self.class_names)

    def righted(self, dst_SE3_src: SE3) -> Boxes3D:
        """The same boxes in frame *dst*, in which they are upright and move horizontally.

        The exact inverse of ``transformed`` from *dst* into a tilted frame. That keeps only the x and y of headings and
        velocities; this finds the horizontal vectors with these components. At a tilt of 2.5° ``transformed`` itself
        would leave an error of 0.1 % of the velocity.
        """
        src_R_dst_xy = dst_SE3_src.rotation.T[:2, :2]
        values = self.values.astype(np.float64)
        values[:, :3] = dst_SE3_src.transform(values[:, :3])
        headings = np.linalg.solve(src_R_dst_xy, np.stack([np.cos(values[:, 6]), np.sin(values[:, 6])]))
        values[:, 6] = np.arctan2(headings[1], headings[0])
        values[:, 7:9] = np.linalg.solve(src_R_dst_xy, values[:, 7:9].T).T
        return Boxes3D(values.astype(np.float32), self.scores, self.labels, self.class_names)

    def relabelled(self, class_names: tuple[str, ...]) -> Boxes3D:
        """The boxes whose class is in ``class_names``, with labels that index it."""
        position = {name: i for i, name in enumerate(class_names)}
        lookup = np.array([position.get(name, -1) for name in self.class_names], dtype=np.int64)
        labels = lookup[self.labels] if len(self) else self.labels
        known = labels >= 0
        return Boxes3D(self.values[known], self.scores[known], labels[known], class_names)


def concatenate(boxes: Sequence[Boxes3D]) -> Boxes3D:
    """All boxes in one.

    Raises:
        ValueError: the boxes have different class names, or there are none.
    """
    names = {b.class_names for b in boxes}
    if len(names) != 1:
        raise ValueError(f"concatenate received boxes of {len(names)} different class lists; expected one")
    return Boxes3D(
        np.concatenate([b.values for b in boxes]),
        np.concatenate([b.scores for b in boxes]),
        np.concatenate([b.labels for b in boxes]),
        boxes[0].class_names,
    )


def bev_corners(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Corners in the ground plane.

    Args:
        values: (N, ≥7) box columns.

    Returns:
        (N, 4, 2) corners, metres, counter-clockwise from front-left: (+l, +w), (-l, +w), (-l, -w), (+l, -w) halves.
    """
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=values.dtype) / 2
    local = signs[None] * values[:, None, 3:5]
    c, s = np.cos(values[:, 6]), np.sin(values[:, 6])
    x = local[..., 0] * c[:, None] - local[..., 1] * s[:, None] + values[:, None, 0]
    y = local[..., 0] * s[:, None] + local[..., 1] * c[:, None] + values[:, None, 1]
    return np.stack([x, y], axis=-1)


def corners(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(N, 8, 3) corners in metres: the four of ``bev_corners`` at the bottom, then the same four at the top."""
    flat = bev_corners(values)
    half_height = values[:, 5] / 2
    bottom, top = values[:, 2] - half_height, values[:, 2] + half_height
    low = np.concatenate([flat, np.broadcast_to(bottom[:, None, None], (*flat.shape[:2], 1))], axis=2)
    high = np.concatenate([flat, np.broadcast_to(top[:, None, None], (*flat.shape[:2], 1))], axis=2)
    return np.concatenate([low, high], axis=1)


def points_in_boxes(points: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which point lies in which box, faces included. A window in x dismisses most points of each box.

    Args:
        points: (N, ≥3) metres, in the boxes' frame.
        values: (M, ≥7) box columns.

    Returns:
        (M, N) bool.
    """
    inside = np.zeros((len(values), len(points)), dtype=np.bool_)
    for i, box in enumerate(values):
        reach = _WINDOW * float(np.hypot(box[3], box[4])) / 2
        near = np.flatnonzero(np.abs(points[:, 0] - box[0]) <= reach)
        offset = points[near, :3] - box[:3]
        c, s = np.cos(box[6]), np.sin(box[6])
        along = np.abs(offset[:, 0] * c + offset[:, 1] * s)
        across = np.abs(offset[:, 1] * c - offset[:, 0] * s)
        inside[i, near] = (along <= box[3] / 2) & (across <= box[4] / 2) & (np.abs(offset[:, 2]) <= box[5] / 2)
    return inside
