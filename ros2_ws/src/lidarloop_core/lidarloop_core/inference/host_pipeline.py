"""HostPipeline: sweeps kept, merged and grouped on the host, for any backend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lidarloop_core.camera_bev.pictures import Pictures
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.segmenter import PointLabels, Segmenter
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.inference.sweep_pipeline import SweepAnswer, SweepPipeline, sweep_columns
from lidarloop_core.pointcloud.deskew import SweepMotion, deskewed
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.pointcloud.sweep_buffer import SweepBuffer
from lidarloop_core.pointcloud.sweeps import merge_sweeps, thinning_stride
from lidarloop_core.sample import Sweep


class HostPipeline:
    """A ``SweepPipeline`` on the host.

    Args:
        model: finds the objects in merged clouds, or labels their points.
        max_points: number of points above which a merged cloud is thinned evenly.
    """

    def __init__(self, model: Detector | Segmenter, max_points: int) -> None:
        self.model: Detector | Segmenter = model
        self.columns = sweep_columns(model.spec)
        self._point_columns = model.spec.point_columns
        self._max_points = max_points
        self._sweeps: SweepBuffer[Sweep] = SweepBuffer(model.spec.num_sweeps, model.spec.sweep_interval_s)

    def answer(self, newest: Sweep, motion: SweepMotion | None = None, pictures: Pictures | None = None) -> SweepAnswer:
        clock = StageClock()
        if TIME_COLUMN in newest.columns:
            newest = deskewed(newest, motion)
        sweeps = self._sweeps.select(newest)
        points = merge_sweeps(sweeps, self._point_columns)
        stride = thinning_stride(len(points), self._max_points)
        clock.stop("merge")
        found = self.model.answer(points[::stride], pictures)
        if isinstance(found, PointLabels):
            found = found.of_first(len(newest.points), stride)
        self._sweeps.keep(newest)
        return SweepAnswer(
            replace(found, stage_ms={**clock.stage_ms, **found.stage_ms}),
            num_sweeps=len(sweeps),
            num_points=len(points),
            newest=newest,
        )

    def forget(self) -> None:
        self._sweeps.clear()

    def adopt(self, before: SweepPipeline) -> None:
        if isinstance(before, HostPipeline) and before.columns == self.columns:
            self._sweeps.adopt(before._sweeps)

    def warm_up(self) -> None:
        point = np.zeros((1, len(self.columns)), np.float32)
        sweep = Sweep(point, self.columns, 0, SE3.identity(), SE3.identity())
        merge_sweeps([sweep, sweep], self._point_columns)
        self.model.warm_up()

    def close(self) -> None:
        self._sweeps.clear()
