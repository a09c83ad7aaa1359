"""SweepPipeline: sweeps in, boxes or labels of points out.

Kept, merged and grouped on the host or on the GPU, with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lidarloop_core.camera_bev.pictures import Pictures
from lidarloop_core.inference.detector import Detections, Detector
from lidarloop_core.inference.segmenter import PointLabels, Segmenter
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.deskew import SweepMotion
from lidarloop_core.sample import Sweep


@dataclass(frozen=True)
class SweepAnswer:
    """How a model answered on a sweep and those merged with it.

    Attributes:
        found: detections in the newest sweep's LiDAR frame, or labels of the newest sweep's points; its counts are
            those of the merged cloud as it was grouped, and its ``stage_ms`` begins with ``merge``,
            to which deskewing belongs.
        num_sweeps: number of sweeps merged, the newest included.
        num_points: number of points in all of them, before the cloud was thinned to the most that one may have.
        newest: the newest sweep with all its points, in their order. Labelled points, and those of a pipeline on the
            host, are deskewed and without their times; a detector's on the GPU are as they were received.
    """

    found: Detections | PointLabels
    num_sweeps: int
    num_points: int
    newest: Sweep


class SweepPipeline(Protocol):
    """Runs a model on each sweep together with the earlier sweeps that ``SweepBuffer`` selects.

    Attributes:
        model: the detector or segmenter; may be replaced at any time by one of the same backend, e.g. with other
            thresholds.
        columns: names of the sweeps' columns, in order.
    """

    model: Detector | Segmenter
    columns: tuple[str, ...]

    def answer(self, newest: Sweep, motion: SweepMotion | None = None, pictures: Pictures | None = None) -> SweepAnswer:
        """Finds the objects, or labels the points.

        May be called again with the same sweep: it is kept only after success.

        Args:
            newest: points in ``columns``; of a pipeline opened for deskewing also in ``TIME_COLUMN``, which comes last.
            motion: the motion of the LiDAR during the sweep, which is taken out; None leaves points where they are.
            pictures: what the cameras of a model with cameras saw; None where they saw nothing.

        Raises:
            CloudFormatError: a sweep of other columns, or one that makes the network give numbers that are not finite.
            BackendError: the network or its device failed.
        """
        ...

    def forget(self) -> None:
        """Removes all sweeps, e.g. after time jumped back."""
        ...

    def adopt(self, before: SweepPipeline) -> None:
        """Takes over the sweeps of the pipeline that this one replaces, if it can use them."""
        ...

    def warm_up(self) -> None:
        """Compiles and allocates what is possible before the first sweep, and keeps no sweep."""
        ...

    def close(self) -> None:
        """Frees the sweeps' memory; the pipeline cannot be used afterwards."""
        ...


def sweep_columns(spec: ModelSpec) -> tuple[str, ...]:
    """Columns that a sweep must have for a model: the model's without the age, which merging adds."""
    return tuple(name for name in spec.point_columns if name != "dt")
