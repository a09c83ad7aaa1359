"""PointPainting: each point is given the class scores of the pixels that it falls on.

Source: Vora et al., CVPR 2020, section 3.2. Where several cameras see a point its scores are averaged (theirs takes one
camera at random). A point that no camera sees has scores of 0, like background; a column of its own, which theirs does
not have, distinguishes the two: nuScenes' cameras leave gaps, and points above and below their pictures.

Older sweeps are projected by the vehicle's motion into the same pictures. What moved by itself since then is painted
where it was, which is off by half a metre at 10 m/s and 50 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.painting.score_model import PictureScores
from lidarloop_core.labelling.points.frustum import view, why_unpictured
from lidarloop_core.sample import CameraImage, Sweep

SEEN = "seen"
"""Column that is 1 for points that a camera sees, and 0 for the others."""

MIN_DEPTH_M = 1.0


def paint_columns(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns that painting adds to a cloud, in order: ``seen``, and one for each class."""
    return (SEEN, *(f"paint_{name}" for name in class_names))


def is_paint(column: str) -> bool:
    """Whether a column is one that painting adds."""
    return column == SEEN or column.startswith("paint_")


def paint(
    sweep: Sweep, cameras: Sequence[CameraImage], scores: Sequence[PictureScores], num_classes: int
) -> npt.NDArray[np.float32]:
    """The paint of a sweep's points.

    Args:
        sweep: points in its own frame, at its own stamp.
        cameras: pictures; one whose calibration, size or pose is missing sees nothing.
        scores: what a network gives each of them.
        num_classes: K.

    Returns:
        (N, 1 + K) float32 in [0, 1], columns of ``paint_columns``.
    """
    points = np.ascontiguousarray(sweep.points[:, :3], np.float32)
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    painted = np.zeros((len(points), 1 + num_classes), np.float32)
    for camera, of_picture in zip(cameras, scores, strict=True):
        if why_unpictured(camera, (of_picture.width, of_picture.height), sweep) is not None:
            continue
        seen = view(points[finite], camera, sweep, MIN_DEPTH_M)
        rows = finite[seen.index]
        painted[rows, 0] += 1  # how many cameras see it
        painted[rows, 1:] += of_picture.at(seen.pixels)
    painted[:, 1:] /= np.maximum(painted[:, :1], 1)
    painted[:, 0] = painted[:, 0] > 0
    return painted
