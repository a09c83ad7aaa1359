"""Detector: cloud → boxes. Grouping before the graph, postprocessing after it, the time of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.pictures import Pictures
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.iou import nms_rotated
from lidarloop_core.inference.backend import Backend
from lidarloop_core.inference.cloud_model import CloudAnswer, CloudModel, counts_of
from lidarloop_core.inference.postprocess import Postprocessing
from lidarloop_core.inference.stage_clock import StageClock


@dataclass(frozen=True)
class Detections(CloudAnswer):
    """What was found in one cloud. No boxes means: looked, and saw nothing.

    Attributes:
        boxes: boxes in the cloud's frame, best first.
    """

    boxes: Boxes3D


class Detector(CloudModel):
    """Finds objects in point clouds with any ``Backend``.

    Args:
        backend: the loaded model, a detector.
        score_threshold: score below which boxes are left out; one value, or one per class of
            ``backend.spec.class_names``.
        nms_iou: bird's-eye-view IoU above which the worse of two boxes of a class is left out; one value, or one per
            class.
        postprocessing: all settings of what follows the network, in the place of the two before.

    Attributes:
        backend: the loaded model.
        postprocessing: settings of what follows the network.

    Raises:
        ModelFileError: the model is no detector.
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
        super().__init__(backend)
        _ = backend.spec.detection  # refuses a segmenter, here and not at the first cloud
        names = backend.spec.class_names
        self.postprocessing = postprocessing or Postprocessing.by_class(names, score_threshold, nms_iou)
        self.postprocessing.require_classes(names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names that the labels of the detections index: the model's classes, then those that renaming adds."""
        return self.postprocessing.published_classes(self.spec.class_names)

    def detect(self, points: npt.NDArray[np.float32], pictures: Pictures | None = None) -> Detections:
        """Finds the objects in one cloud.

        Args:
            points: (N, C) float32 in ``spec.point_columns``, metres, LiDAR frame. Where no point is in range the
                network is not run.
            pictures: what the cameras of ``spec.cameras`` saw; None where they saw nothing, or the model has none.

        Raises:
            CloudFormatError: C is not the number of the model's columns, or the network gave boxes that are not finite
                for this cloud alone.
            BackendError: the network failed, or gives boxes that are not finite for an ordinary cloud as well.
        """
        clock = StageClock()
        index, outputs = self.run(points, clock, pictures)
        boxes = self.boxes(outputs)
        clock.stop("postprocess")
        return Detections(boxes=boxes, stage_ms=clock.stage_ms, **counts_of(index, len(points)))

    answer = detect

    def boxes(self, outputs: Mapping[str, npt.NDArray[Any]] | None) -> Boxes3D:
        """Detections from the network's outputs: thresholds, suppression, renaming.

        Args:
            outputs: name → array, boxes (K, 9), scores (K,), labels (K,); None where the network was not run.

        Raises:
            CloudFormatError: boxes that are not finite, although those of an ordinary cloud are.
            BackendError: boxes that are not finite, and neither are those of an ordinary cloud.
        """
        if outputs is None:
            return Boxes3D.empty(self.class_names)
        self.require_finite(outputs, "boxes")
        return self.postprocessing.publishable(self._passing(outputs))

    def gives_finite(self, outputs: Mapping[str, npt.NDArray[Any]]) -> bool:
        """Whether the boxes (K, 9) that pass their thresholds are finite, and so are their scores."""
        boxes = self._passing(outputs)
        return bool(np.isfinite(boxes.values).all() and np.isfinite(boxes.scores).all())

    def _passing(self, outputs: Mapping[str, npt.NDArray[Any]]) -> Boxes3D:
        found = Boxes3D(outputs["boxes"], outputs["scores"], outputs["labels"], self.spec.class_names)
        return self.postprocessing.passing(found)

    def warm_up_postprocessing(self) -> None:
        """Compiles the suppression."""
        box = np.array([[0, 0, 0, 4, 2, 2, 0]], np.float32)
        nms_rotated(np.repeat(box, 2, axis=0), np.ones(2, np.float32), 0.5)
