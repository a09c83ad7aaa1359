"""Cropping in the detector: the parameters, and each LiDAR's points within them. No ROS in it, but the parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.pointcloud.crop import (
    CropLimits,
    crop,
    inside_region,
    parse_box,
    parse_interval,
    parse_region,
)
from lidarloop_ros.inputs.motion import MotionUnavailableError, Poses
from lidarloop_ros.node.params import NodeParams, param


@dataclass(frozen=True)
class CropParams(NodeParams):
    """Parameters of what is used of the clouds, and of what is published."""

    min_range_m: float = param(
        0.0, "Points nearer to their LiDAR than this (m) are left out; 0: none.", low=0.0, high=100.0
    )
    max_range_m: float = param(
        0.0, "Points farther from their LiDAR than this (m) are left out; 0: none.", low=0.0, high=10_000.0
    )
    height_range: str = param(
        "", "Points below or above these heights (m) in base_frame are left out: `-1 4`.", check=parse_interval
    )
    ego_box: str = param(
        "",
        "The own vehicle in base_frame (m), x, y and z from and to: `-1 3.8, -1 1, 0 1.6`. Points of all LiDARs inside "
        "are left out.",
        check=parse_box,
    )
    ego_box_shadow: bool = param(
        False,
        "Points behind the own vehicle, on rays that pass through `ego_box`, are left out too: ghosts of mirrors.",
    )
    points_region: str = param(
        "",
        "Points outside this polygon in base_frame are left out; corners x y (m): `50 20, 50 -20, -10 -20, -10 20`.",
        check=parse_region,
    )
    output_region: str = param(
        "", "Detections whose centre is outside this polygon in base_frame are left out; as `points_region`.",
        check=parse_region,
    )  # fmt: skip

    @property
    def crop_limits(self) -> CropLimits:
        """The limits of points."""
        return CropLimits(
            self.min_range_m,
            self.max_range_m or math.inf,
            parse_interval(self.height_range),
            parse_box(self.ego_box),
            self.ego_box_shadow,
            parse_region(self.points_region),
        )


class Cropping:
    """Leaves out points and detections by limits, most of which are in the vehicle's frame.

    Args:
        limits: limits of points.
        output_region_m: (K, 2) corners of the polygon of detections, metres, vehicle's frame; K = 0: everywhere.
        poses: the sensors' mounting poses; asked only where a limit needs one.
    """

    def __init__(self, limits: CropLimits, output_region_m: npt.NDArray[np.float64], poses: Poses) -> None:
        self._limits = limits
        self._output_region_m = output_region_m
        self._poses = poses

    def points(self, points: npt.NDArray[np.float32], lidar_frame: str) -> tuple[npt.NDArray[np.float32], str]:
        """The points (N, C) of a LiDAR, metres, its frame, within the limits; and why not all limits hold, or ""."""
        if not self._limits.needs_mounting:
            return crop(points, self._limits, None), ""
        try:
            return crop(points, self._limits, self._poses.mounting(lidar_frame)), ""
        except MotionUnavailableError as error:
            return crop(points, self._limits, None), f"limits of the vehicle's frame do not hold, {error}"

    def boxes(self, boxes: Boxes3D, lidar_frame: str) -> Boxes3D:
        """The detections in the region; all where the LiDAR's mounting pose is unknown."""
        if not len(self._output_region_m) or not len(boxes):
            return boxes
        try:
            centres = self._poses.mounting(lidar_frame).transform(boxes.centers.astype(np.float64))
        except MotionUnavailableError:
            return boxes
        return boxes[np.flatnonzero(inside_region(centres[:, :2], self._output_region_m))]
