"""Detector: cloud → boxes. Grouping before the graph, postprocessing after it, the time of each stage."""

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
from lidarloop_core.model.group import GroupedCloud, group_cloud
from lidarloop_core.model.spec import ModelSpec


@dataclass(frozen=True)
class Detections:
    """What was found in one cloud. No boxes means: looked, and saw nothing.

    Attributes:
        boxes: boxes in the cloud's frame, best first.
        stage_ms: durations of ``group``, ``infer`` and ``postprocess``, milliseconds.
        num_points: number of points in the cloud.
        num_out_of_range: number of points outside the model's range, or not finite.
        num_over_full: number of points left out of full pillars.
        num_thinned: number of points left out because the cloud has more pillars or voxels than the model takes.
        overfull: what exceeded the model's capacity, one text for each; see ``GroupedCloud.overfull``.
    """

    boxes: Boxes3D
    stage_ms: dict[str, float]
    num_points: int
    num_out_of_range: int
    num_over_full: int
    num_thinned: int
    overfull: tuple[str, ...]


class Detector:
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
        _ = backend.spec.detection  # refuses a segmenter, here and not at the first cloud
        self.backend = backend
        names = backend.spec.class_names
        self.postprocessing = postprocessing or Postprocessing.by_class(names, score_threshold, nms_iou)
        self.postprocessing.require_classes(names)

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self.backend.spec

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names that the labels of the detections index: the model's classes, then those that renaming adds."""
        return self.postprocessing.published_classes(self.spec.class_names)

    def detect(self, points: npt.NDArray[np.float32]) -> Detections:
        """Finds the objects in one cloud.

        Args:
            points: (N, C) float32 in ``spec.point_columns``, metres, LiDAR frame. Where no point is in range the
                network is not run.

        Raises:
            CloudFormatError: C is not the number of the model's columns, or the network gave boxes that are not finite
                for this cloud alone.
            BackendError: the network failed, or gives boxes that are not finite for an ordinary cloud as well.
        """
        clock = StageClock()
        index = self.group(points)
        clock.stop("group")
        outputs = None if index.is_empty else self.backend.infer(index.tensors())
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
            overfull=index.overfull,
        )

    def group(self, points: npt.NDArray[np.float32]) -> GroupedCloud:
        """Sorts a cloud (N, C) into the model's grid.

        Raises:
            CloudFormatError: C is not the number of the model's columns.
        """
        spec = self.spec
        if points.ndim != 2 or points.shape[1] != len(spec.point_columns):
            raise CloudFormatError(
                f"{spec.name} received points of shape {points.shape}; expected (N, {len(spec.point_columns)}): "
                f"{', '.join(spec.point_columns)}"
            )
        return group_cloud(points, spec)

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
        passing = self._passing(outputs)
        if not _is_finite(passing):
            raise self._cause_of_not_finite()
        return self.postprocessing.publishable(passing)

    def _passing(self, outputs: Mapping[str, npt.NDArray[Any]]) -> Boxes3D:
        found = Boxes3D(outputs["boxes"], outputs["scores"], outputs["labels"], self.spec.class_names)
        return self.postprocessing.passing(found)

    def _cause_of_not_finite(self) -> BackendError | CloudFormatError:
        """Whether the cloud or the backend is to blame: the backend, if it fails on an ordinary cloud as well."""
        small, _ = warm_up_clouds(self.spec, len(self.spec.point_columns))
        if _is_finite(self._passing(self.backend.infer(self.group(small).tensors()))):
            return CloudFormatError(
                f"{self.spec.name} on {self.backend.device} gave boxes that are not finite for this cloud, though not "
                f"for an ordinary one: check the values that the driver gives {', '.join(self.spec.point_columns)}; if "
                "they are as in training, check the precision the engine was built with"
            )
        return BackendError(
            f"{self.spec.name} on {self.backend.device} gave boxes that are not finite; "
            "expected numbers: check the precision the engine was built with"
        )

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


def _is_finite(boxes: Boxes3D) -> bool:
    return bool(np.isfinite(boxes.values).all() and np.isfinite(boxes.scores).all())


def warm_up_clouds(spec: ModelSpec, num_columns: int) -> Iterator[npt.NDArray[np.float32]]:
    """A small cloud and one that fills the model: (N, num_columns), x y z anywhere in range, metres, and zeros."""
    random = np.random.default_rng(0)
    low, high = zip(*spec.grid.ranges_m, strict=True)
    for num_points in (100, 4 * spec.grid.most_cells):
        points = np.zeros((num_points, num_columns), np.float32)
        points[:, :3] = random.uniform(low, high, (num_points, 3))
        yield points
