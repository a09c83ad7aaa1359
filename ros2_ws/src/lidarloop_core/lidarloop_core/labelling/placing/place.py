"""Placing: the points of an object → its box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.placing.box_fit import CONFIDENT, FittedBox, fit_box, place_box
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.placing.medoid import medoid
from lidarloop_core.labelling.placing.push_out import push_out
from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.ground_height import GroundHeight
from lidarloop_core.labelling.points.segments import Segment

YawSource = Literal["lane", "box_fit", "box_fit_on_lane", "none"]

_ALONG_LANE = math.cos(math.radians(60))
"""An axis that is further from the lane's crosses it: then the lane does not tell front from back."""

_SENSOR_XY = np.zeros(2)  # boxes are made in the LiDAR's own frame


@dataclass(frozen=True)
class Placed:
    """M boxes.

    Attributes:
        values: (M, 9) box columns, keyframe LiDAR's frame; velocity 0.
        yaw_sources: M of "lane", "box_fit" (the axis alone: right modulo half a turn), "box_fit_on_lane" (a lane tells
            front from back), "none".
        confidence: (M,) confidence of the fitted heading, in [0, 1]; 1 if none was fitted.
    """

    values: npt.NDArray[np.float64]
    yaw_sources: tuple[YawSource, ...]
    confidence: npt.NDArray[np.float64]


def place(
    segments: Sequence[Segment],
    cloud: Cloud,
    sizes: npt.NDArray[np.float64],
    follows_lane: npt.NDArray[np.bool_],
    world_SE3_lidar: SE3 | None,
    lanes: LaneLookup | None,
    config: LiftingConfig,
    largest: npt.NDArray[np.float64] | None = None,
) -> Placed:
    """Places a box for each segment.

    Args:
        segments: M segments, each with at least one point.
        cloud: the cloud that the segments index.
        sizes: (C, 3) shape priors by label, metres.
        follows_lane: (C,) bool, whether a class stands along lanes.
        world_SE3_lidar: pose of the keyframe LiDAR; None without ego-motion: lanes are then not used.
        lanes: lanes of the map, world frame; None without a map.
        config: the rules for centre and yaw.
        largest: (C, 3) bounds of fitted sizes by label, metres; None for none.
    """
    labels = np.array([s.label for s in segments], np.int64)
    points = [cloud.points[s.index] for s in segments]
    size = sizes[labels]
    most = np.full_like(size, np.inf) if largest is None else largest[labels]
    surface = np.array([_surface_point(p, config) for p in points]).reshape(-1, 3)
    lane_yaw = _lane_yaws(surface, follows_lane[labels], world_SE3_lidar, lanes, config)
    choices = [_choose(*each, config) for each in zip(points, size, most, lane_yaw, strict=True)]
    sources = tuple(source for _, _, source in choices)
    yaw = np.array([yaw for _, yaw, _ in choices], np.float64)
    yaw = np.where(np.isfinite(yaw), yaw, _yaw_along_world_x(world_SE3_lidar))
    fitted = [fit if fit is not None and math.isfinite(fit.yaw) else None for fit, _, _ in choices]
    confidence = np.array([1.0 if fit is None else fit.confidence for fit in fitted])
    if config.center == "box_fit":
        boxes = [
            _stand(fit, p, s, m, y) for (fit, _, _), p, s, m, y in zip(choices, points, size, most, yaw, strict=True)
        ]
        center = np.array([box.center for box in boxes]).reshape(-1, 3)
        size = np.array([box.size for box in boxes]).reshape(-1, 3)
    elif config.push_out:
        center = np.where(follows_lane[labels, None], push_out(surface, size, yaw, _SENSOR_XY), surface)
    else:
        center = surface.astype(np.float64)
    values = np.concatenate([center, size, yaw[:, None], np.zeros((len(points), 2))], axis=1)
    return Placed(values, sources, confidence)


def on_ground(placed: Placed, ground: GroundHeight) -> Placed:
    """The boxes with their undersides on the ground, if its height is known there."""
    values = placed.values.copy()
    z = ground.at(values[:, :2]) + values[:, 5] / 2
    values[:, 2] = np.where(np.isfinite(z), z, values[:, 2])
    return replace(placed, values=values)


def _choose(
    points: npt.NDArray[np.float32],
    size: npt.NDArray[np.float64],
    most: npt.NDArray[np.float64],
    lane_yaw: float,
    config: LiftingConfig,
) -> tuple[FittedBox | None, float, YawSource]:
    """The fitted box, if a rule needs one; the yaw of the first rule with an answer, else NaN; and its source."""
    fit = None
    if config.center == "box_fit" or "box_fit" in config.yaw:
        fit = fit_box(points, size, _SENSOR_XY, lane_yaw, most)
    for rule in config.yaw:
        if rule == "lane" and math.isfinite(lane_yaw):
            return fit, lane_yaw, "lane"
        if rule == "box_fit" and fit is not None and fit.confidence >= CONFIDENT:
            return fit, fit.yaw, _fitted(fit.yaw, lane_yaw)
    if fit is not None and math.isfinite(fit.yaw):
        return fit, fit.yaw, _fitted(fit.yaw, lane_yaw)  # uncertain, but better than any default
    return fit, math.nan, "none"


def _fitted(yaw: float, lane_yaw: float) -> YawSource:
    """Source of a fitted heading, of which a lane along it, if there is one, has told front from back."""
    return "box_fit_on_lane" if math.cos(yaw - lane_yaw) > _ALONG_LANE else "box_fit"  # NaN without a lane


def _stand(
    fit: FittedBox | None,
    points: npt.NDArray[np.float32],
    size: npt.NDArray[np.float64],
    most: npt.NDArray[np.float64],
    yaw: float,
) -> FittedBox:
    """The fitted box if its yaw is the one chosen, or if it is too small for a yaw; else one placed at that yaw."""
    if fit is not None and (math.isnan(fit.yaw) or fit.yaw == yaw):
        return fit
    return place_box(points, size, _SENSOR_XY, yaw, most)


def _surface_point(points: npt.NDArray[np.float32], config: LiftingConfig) -> npt.NDArray[np.float32]:
    """The point at which lanes are looked up, and from which the centre is found unless a fitted box gives it."""
    point: npt.NDArray[np.float32] = points[medoid(points)] if config.center == "medoid" else points.mean(axis=0)
    return point


def _lane_yaws(
    surface: npt.NDArray[np.float64],
    follows_lane: npt.NDArray[np.bool_],
    world_SE3_lidar: SE3 | None,
    lanes: LaneLookup | None,
    config: LiftingConfig,
) -> npt.NDArray[np.float64]:
    """(M,) yaws from lanes, radians, LiDAR's frame; NaN if there is none."""
    yaw = np.full(len(surface), np.nan)
    if lanes is not None and world_SE3_lidar is not None and "lane" in config.yaw and len(surface):
        found = lanes.nearest(world_SE3_lidar.transform(surface))
        near = follows_lane & np.isfinite(found.yaw) & (found.distance_m <= config.max_lane_distance_m)
        yaw[near] = world_SE3_lidar.inverse().rotate_yaws(found.yaw[near])
    return yaw


def _yaw_along_world_x(world_SE3_lidar: SE3 | None) -> float:
    """The authors' yaw of objects that follow no lane, radians, in the LiDAR's frame."""
    return 0.0 if world_SE3_lidar is None else float(world_SE3_lidar.inverse().rotate_yaws(np.zeros(1))[0])
