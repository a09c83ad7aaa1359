"""Segmenter: cloud → a class for each point. Grouping before the graph, the time of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.pictures import Pictures
from lidarloop_core.errors import ModelFileError
from lidarloop_core.inference.backend import Backend
from lidarloop_core.inference.cloud_model import CloudAnswer, CloudModel, counts_of
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.pointcloud.grid import VoxelGrid

NO_LABEL = 255
"""Label of a point that the model does not answer for: out of range, or of a voxel that there was no room for."""


@dataclass(frozen=True)
class PointLabels(CloudAnswer):
    """What the points of one cloud lie on.

    Attributes:
        labels: (N,) uint8 class of each point, ``NO_LABEL`` for none.
        scores: (N,) float32 in [0, 1], 0 for a point without a label.
    """

    labels: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float32]

    def of_first(self, num_points: int, stride: int) -> PointLabels:
        """The same for the first points of a cloud of which this one holds every ``stride``-th, the first included.

        Args:
            num_points: number of points M asked for; those in between have no label.
            stride: step from one point of this cloud to the next in that one.
        """
        labels, scores = np.full(num_points, NO_LABEL, np.uint8), np.zeros(num_points, np.float32)
        num_answered = len(labels[::stride])
        labels[::stride], scores[::stride] = self.labels[:num_answered], self.scores[:num_answered]
        return replace(self, labels=labels, scores=scores)


class Segmenter(CloudModel):
    """Says of each point what it lies on, with any ``Backend``.

    Args:
        backend: the loaded model, a segmenter.

    Attributes:
        backend: the loaded model.

    Raises:
        ModelFileError: the model is no segmenter, is not on voxels, or has more classes than a label of 8 bits can tell
            apart.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        spec = backend.spec
        if not isinstance(spec.outputs, Segmentation):
            raise ModelFileError(f"{spec.name} is a model for {spec.outputs.kind}; expected a segmenter: take another")
        if not isinstance(spec.grid, VoxelGrid):
            raise ModelFileError(
                f"{spec.name} is a segmenter on {spec.grid.kind}; expected one on voxels, which keep every point: take "
                "another"
            )
        if len(spec.class_names) > NO_LABEL:
            raise ModelFileError(
                f"{spec.name} has {len(spec.class_names)} classes of points; expected at most {NO_LABEL}: join some"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names that the labels index: the model's classes."""
        return self.spec.class_names

    def segment(self, points: npt.NDArray[np.float32]) -> PointLabels:
        """Labels the points of one cloud.

        Args:
            points: (N, C) float32 in ``spec.point_columns``, metres, LiDAR frame. Where no point is in range the
                network is not run.

        Raises:
            CloudFormatError: C is not the number of the model's columns, or the network gave scores that are not finite
                for this cloud alone.
            BackendError: the network failed, or gives scores that are not finite for an ordinary cloud as well.
        """
        clock = StageClock()
        index, outputs = self.run(points, clock)
        labels, scores = self.labels(outputs, index.tensors()["voxel_of_point"] > 0)
        clock.stop("postprocess")
        return PointLabels(labels=labels, scores=scores, stage_ms=clock.stage_ms, **counts_of(index, len(points)))

    def answer(self, points: npt.NDArray[np.float32], pictures: Pictures | None = None) -> PointLabels:
        """``segment`` of points (N, C), metres; no segmenter takes pictures."""
        return self.segment(points)

    def gives_finite(self, outputs: Mapping[str, npt.NDArray[Any]]) -> bool:
        """Whether the scores (N,) are finite."""
        return bool(np.isfinite(outputs["scores"]).all())

    def labels(
        self, outputs: Mapping[str, npt.NDArray[Any]] | None, has_voxel: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Labels and scores of points, both (N,), from the network's outputs.

        Args:
            outputs: name → array, scores (N,), labels (N,); None where the network was not run.
            has_voxel: (N,) whether the network answers for the point.

        Raises:
            CloudFormatError: scores that are not finite, although those of an ordinary cloud are.
            BackendError: scores that are not finite, and neither are those of an ordinary cloud.
        """
        labels, scores = np.full(len(has_voxel), NO_LABEL, np.uint8), np.zeros(len(has_voxel), np.float32)
        if outputs is not None:
            self.require_finite(outputs, "scores")
            labels[has_voxel], scores[has_voxel] = outputs["labels"][has_voxel], outputs["scores"][has_voxel]
        return labels, scores
