"""A sample's points with the class of each, in the classes of a model."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_core.sample import Sample, Sweep

UNLABELLED = -1
"""Class of a point that has none of a model's classes."""


def labelled_points(sample: Sample, spec: ModelSpec) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """What a network sees of a sample, and what it should answer.

    Returns:
        The merged sweeps (N, C) float32 in ``spec.point_columns``, guarded as on the vehicle, metres, LiDAR frame, the
        keyframe's points first; and the class (N,) of each point in ``spec.class_names``, ``UNLABELLED`` where it has
        none of them, and in older sweeps, whose points were asked about when they were the keyframe's.

    Raises:
        DatasetError: the points of the sample are not labelled.
    """
    lookup = class_of_label(sample, spec)
    columns = (*spec.point_columns, "label")
    newest, *older = sample.sweeps[: spec.num_sweeps]
    points = network_points([newest, *map(_without_labels, older)], columns, spec.column_limits)
    return points[:, :-1], lookup[points[:, -1].astype(np.int64)]


def _without_labels(sweep: Sweep) -> Sweep:
    points = sweep.points.copy()
    points[:, sweep.columns.index("label")] = 0
    return dataclasses.replace(sweep, points=points)


def class_of_label(sample: Sample, spec: ModelSpec) -> npt.NDArray[np.int64]:
    """(L,) class in ``spec.class_names`` by the label of a sample's points; ``UNLABELLED`` for what is not learnt.

    Raises:
        DatasetError: the points of the sample are not labelled.
    """
    if not sample.point_classes:
        raise DatasetError(
            f"sample {sample.token} has no labels of points; expected them to segment by: take a nuscenes-lidarseg or "
            "semantic-kitti drive, or toy-town drives of this version (delete older ones, they are made anew)"
        )
    _, *names = sample.point_classes
    place = {name: number for number, name in enumerate(spec.class_names)}
    return np.array([UNLABELLED, *(place.get(name, UNLABELLED) for name in names)], np.int64)


def is_in_range(points: npt.NDArray[np.float32], spec: ModelSpec) -> npt.NDArray[np.bool_]:
    """(N, C) points, x y z first → (N,) whether each lies in the model's range."""
    low, high = np.array(spec.grid.ranges_m, dtype=np.float64).T
    xyz = points[:, :3].astype(np.float64)
    inside: npt.NDArray[np.bool_] = ((xyz >= low) & (xyz < high)).all(axis=1)
    return inside
