"""Detector: cloud → boxes. Grouping before the graph, postprocessing after it, time of each stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BackendError, CloudFormatError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.iou import nms_rotated
from lidarloop_core.inference.backend import Backend
from lidarloop_core.inference.postprocess import Postprocessing
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grouping import PillarIndex, group_pillars


@dataclass(frozen=True)
class Detections:
    """What was found in one cloud. No boxes means: looked, and saw nothing.

    Attributes:
        boxes: in the cloud's frame, best first.
        stage_ms: milliseconds of ``group``, ``infer`` and ``postprocess``.
        num_points: points of the cloud.
        num_out_of_range: points outside the model's range, or not finite.
        num_over_full: points left out of full pillars.
        num_thinned: points left out because the cloud has more pillars than the model's capacity.
        num_pillars_found: pillars before that thinning.
    """

    boxes: Boxes3D
    stage_ms: dict[str, float]
    num_points: int
    num_out_of_range: int
    num_over_full: int
    num_thinned: int
    num_pillars_found: int


class Detector:
    """Finds objects in point clouds with any ``Backend``.

    Args:
        backend: the loaded model.
        score_threshold: boxes below are left out; one value, or one per class of ``backend.spec.class_names``.
        nms_iou: bird's-eye-view IoU above which the worse of two boxes of a class is left out; one value, or one per
            class.
        postprocessing: everything that may be set, in the place of the two before.

    Raises:
        ConfigError: a threshold outside [0, 1], a number of values that is neither one nor that of the classes, or
            ``postprocessing`` names a class that the model does not have.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        score_threshold: float | Sequence[float] = 0.1,
        nms_iou: float | Sequence[float] = 0.2,
        postprocessing: Postprocessing | None = None,
    ) -> None:
        self.backend = backend
        names = backend.spec.class_names
        self.postprocessing = postprocessing or Postprocessing.by_class(names, score_threshold, nms_iou)
        self.postprocessing.require_classes(names)

    @property
    def spec(self) -> ModelSpec:
        return self.backend.spec

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels of the detections mean: the model's classes, then those that renaming adds."""
        return self.postprocessing.published_classes(self.spec.class_names)

    def detect(self, points: npt.NDArray[np.float32]) -> Detections:
        """Finds the objects in one cloud.

        Args:
            points: (N, C) float32 in ``spec.point_columns``, in the LiDAR frame. Where no point is in range the network
                is not run.

        Raises:
            CloudFormatError: C is not the number of the model's columns.
            BackendError: the network failed, or gave boxes that are not finite.
        """
        spec = self.spec
        if points.ndim != 2 or points.shape[1] != len(spec.point_columns):
            raise CloudFormatError(
                f"{spec.name} received points of shape {points.shape}; expected (N, {len(spec.point_columns)}): "
                f"{', '.join(spec.point_columns)}"
            )
        clock = StageClock()
        index = group_pillars(points, spec)
        clock.stop("group")
        outputs = self._infer(index) if len(index.points) else None
        clock.stop("infer")
        boxes = self.boxes(outputs)
        clock.stop("postprocess")
        return Detections(
            boxes=boxes,
            stage_ms=clock.stage_ms,
            num_points=len(points),
            num_out_of_range=index.num_out_of_range,
            num_over_full=index.num_over_full,
            num_thinned=index.num_thinned,
            num_pillars_found=index.num_pillars_found,
        )

    def boxes(self, outputs: Mapping[str, npt.NDArray[Any]] | None) -> Boxes3D:
        """What the network's outputs come to: thresholds, suppression, renaming. None: it was not run.

        Raises:
            BackendError: boxes that are not finite.
        """
        if outputs is None:
            return Boxes3D.empty(self.class_names)
        found = Boxes3D(outputs["boxes"], outputs["scores"], outputs["labels"], self.spec.class_names)
        found = self.postprocessing.passing(found)
        if not (np.isfinite(found.values).all() and np.isfinite(found.scores).all()):
            raise BackendError(
                f"{self.spec.name} on {self.backend.device} gave boxes that are not finite; "
                "expected numbers: check the precision the engine was built with"
            )
        return self.postprocessing.publishable(found)

    def warm_up(self) -> None:
        """Runs a small and a large cloud, so that compiling and allocating are over before the first real one."""
        small, large = warm_up_clouds(self.spec, len(self.spec.point_columns))
        for points in (small, large, small):
            self.detect(points)
        self.warm_up_boxes()

    def warm_up_boxes(self) -> None:
        """Compiles what follows the network."""
        box = np.array([[0, 0, 0, 4, 2, 2, 0]], np.float32)
        nms_rotated(np.repeat(box, 2, axis=0), np.ones(2, np.float32), 0.5)

    def _infer(self, index: PillarIndex) -> dict[str, npt.NDArray[Any]]:
        return self.backend.infer(
            {"points": index.points, "slot": index.slot, "cell": index.cell, "count": index.count}
        )


def warm_up_clouds(spec: ModelSpec, num_columns: int) -> Iterator[npt.NDArray[np.float32]]:
    """A small cloud and one that fills the model: (N, num_columns), x y z anywhere in range and zeros."""
    random = np.random.default_rng(0)
    low, high = zip(spec.x_range_m, spec.y_range_m, spec.z_range_m, strict=True)
    for num_points in (100, 4 * spec.max_pillars):
        points = np.zeros((num_points, num_columns), np.float32)
        points[:, :3] = random.uniform(low, high, (num_points, 3))
        yield points
