"""Lifting: masks in pictures and a LiDAR cloud → labelled 3D boxes, without any 3D label.

CM3D (Khurana, Peri, Hays, Ramanan: Shelf-Supervised Cross-Modal Pre-Training for 3D Object Detection, CoRL 2024), step
by step, and further steps that ``LiftingConfig`` switches. It is numpy and numba alone, so that the vehicle can run it.

Where the plain pipeline differs from its authors' code: sweeps before the keyframe are accumulated instead of those
after it, which a vehicle does not have yet; objects are pushed away from the LiDAR instead of from the ego's origin;
points are looked up in the pixel whose middle is nearest; erosion takes nothing at the picture's border, leaves masks
that would lose all their points alone, and works at the masks' own resolution; and where the map has no lane, vehicles
keep a yaw of 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.iou import nms_rotated_by_label
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.lifting.fusion import fused
from lidarloop_core.labelling.lifting.quality import evidence, quality_of
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.placing.place import Placed, on_ground, place
from lidarloop_core.labelling.placing.walls import in_walls
from lidarloop_core.labelling.points.accumulate import Cloud, accumulate
from lidarloop_core.labelling.points.cleaning import cleaned, with_ground
from lidarloop_core.labelling.points.frustum import view, why_unfit, without_hidden
from lidarloop_core.labelling.points.ground_height import GroundHeight
from lidarloop_core.labelling.points.segments import Segment, segments_of, usable_masks
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.labelling.suppression import circle_radii, nms_circles
from lidarloop_core.sample import Sample

OnStage = Callable[[str, float], None]
"""Takes the name of a stage and its duration in milliseconds."""


def lift(
    sample: Sample,
    found: Mapping[str, InstanceMasks],
    priors: ShapePriors,
    config: LiftingConfig,
    lanes: LaneLookup | None = None,
    on_stage: OnStage | None = None,
) -> tuple[PseudoLabels, LeftOut]:
    """Labels one sample.

    Args:
        sample: sweeps and cameras; annotations are not used.
        found: camera name → masks of its picture.
        priors: a size for each of the mask model's classes.
        config: the steps.
        lanes: lanes of the drive's map, for yaws; None without a map.
        on_stage: called after each stage with its duration.

    Returns:
        The labels, in the keyframe LiDAR's frame, and the numbers of inputs that gave none, by reason.

    Raises:
        ConfigError: a class has no shape prior, or the cameras' masks name different classes.
    """
    class_names = _class_names(found, priors)
    sizes = priors.of(class_names)
    left_out = LeftOut()
    clock = _Clock(on_stage)

    cloud = accumulate(sample.sweeps, config.num_sweeps, config.ego_half_width_m, left_out)
    clock.passed("accumulate")
    ground = GroundHeight(cloud.points[cloud.age == 0]) if config.drop_ground or config.snap_to_ground else None
    if config.drop_ground and ground is not None:
        cloud = with_ground(cloud, ground)
    clock.passed("ground")
    segments = _find_segments(sample, found, cloud, config, left_out, clock)
    segments = _cleaned(segments, cloud, config, left_out)
    clock.passed("clean")
    if config.merge_cameras:
        num_found = len(segments)
        segments = fused(segments, cloud, sizes)
        left_out.masks["part of an object of another camera"] += num_found - len(segments)
        clock.passed("fuse cameras")
    keyframe = sample.keyframe
    world_SE3_lidar = keyframe.world_SE3_ego @ keyframe.ego_SE3_lidar if keyframe.world_SE3_ego else None
    follows_lane = np.array([name in config.lane_classes for name in class_names], np.bool_)
    placed = place(segments, cloud, sizes, follows_lane, world_SE3_lidar, lanes, config, priors.largest(class_names))
    if config.snap_to_ground and ground is not None:
        placed = on_ground(placed, ground)
    clock.passed("place")
    labels = _labels(segments, placed, evidence(segments, cloud, sizes), class_names, config)
    if config.drop_walls:
        in_wall = _in_walls(labels.boxes, cloud, priors.largest(class_names), config)
        left_out.masks["part of a wall or a tree"] += int(in_wall.sum())
        labels = labels[~in_wall]
        clock.passed("walls")
    kept = nms_circles(
        labels.boxes.centers[:, :2],
        labels.boxes.scores,
        labels.boxes.labels,
        circle_radii(class_names, sizes) * config.vote_radius,
    )
    alone = kept[_without_overlap(labels[kept].boxes, config.overlap_iou)]
    left_out.masks["same object as a better one"] += len(labels) - len(alone)
    clock.passed("suppress")
    return labels[alone], left_out


def _in_walls(
    boxes: Boxes3D, cloud: Cloud, largest: npt.NDArray[np.float64], config: LiftingConfig
) -> npt.NDArray[np.bool_]:
    """(M,) bool, whether each box is a piece of something larger, by the keyframe's points above the ground."""
    points = cloud.points[(cloud.age == 0) & ~cloud.on_ground]
    vehicles = [name in config.lane_classes and name != "barrier" for name in boxes.class_names]
    return in_walls(points, boxes.values, largest[boxes.labels], np.array(vehicles, np.bool_)[boxes.labels])


def _without_overlap(boxes: Boxes3D, iou: float) -> npt.NDArray[np.int64]:
    """Ascending indices of the boxes that overlap no better one of their class."""
    if iou >= 1:
        return np.arange(len(boxes))
    thresholds = [iou] * len(boxes.class_names)
    return np.sort(nms_rotated_by_label(boxes.values, boxes.scores, boxes.labels, thresholds))


class _Clock:
    """Reports the duration of each stage."""

    def __init__(self, on_stage: OnStage | None) -> None:
        self._on_stage = on_stage
        self._since_ns = time.perf_counter_ns()

    def passed(self, stage: str) -> None:
        """Ends a stage, and starts the next."""
        now_ns = time.perf_counter_ns()
        if self._on_stage is not None:
            self._on_stage(stage, (now_ns - self._since_ns) / 1e6)
        self._since_ns = now_ns


def _class_names(found: Mapping[str, InstanceMasks], priors: ShapePriors) -> tuple[str, ...]:
    names = {masks.class_names for masks in found.values()}
    if len(names) > 1:
        raise ConfigError(
            f"lift received masks of {len(names)} different class lists ({'; '.join(', '.join(n) for n in names)}); "
            "expected one for all cameras"
        )
    return names.pop() if names else tuple(priors.sizes)


def _find_segments(
    sample: Sample,
    found: Mapping[str, InstanceMasks],
    cloud: Cloud,
    config: LiftingConfig,
    left_out: LeftOut,
    clock: _Clock,
) -> list[Segment]:
    """The segments of all pictures that can be projected into."""
    segments: list[Segment] = []
    left_out.cameras["masks of a camera that the sample lacks"] += len(found.keys() - {c.name for c in sample.cameras})
    for camera in sample.cameras:
        reason = why_unfit(camera, found.get(camera.name), sample.keyframe)
        if reason is not None:
            left_out.cameras[reason] += 1
            continue
        masks = usable_masks(found[camera.name], config, left_out.masks)
        clock.passed("filter 2D")
        seen = view(cloud.points, camera, sample.keyframe, config.min_depth_m)
        if config.drop_hidden:
            seen = without_hidden(seen, (cloud.age == 0) & ~cloud.on_ground)
        clock.passed("project")
        segments += segments_of(masks, seen, config, left_out.masks)
        clock.passed("points in masks")
    return segments


def _cleaned(segments: list[Segment], cloud: Cloud, config: LiftingConfig, left_out: LeftOut) -> list[Segment]:
    clean = [part for s in segments for part in cleaned(s, cloud, config)]
    enough = [segment for segment in clean if len(segment.index) >= config.min_points]
    left_out.masks["too few points"] += len(clean) - len(enough)
    return enough


def _labels(
    segments: list[Segment],
    placed: Placed,
    support: npt.NDArray[np.float64],
    class_names: tuple[str, ...],
    config: LiftingConfig,
) -> PseudoLabels:
    scores = np.array([s.score for s in segments], np.float64)
    num_cameras = np.array([len(s.cameras) for s in segments], np.int64)
    quality = quality_of(scores, num_cameras, support, placed.confidence)
    boxes = Boxes3D(
        placed.values.astype(np.float32),
        (scores * support if config.rescore else scores).astype(np.float32),
        np.array([s.label for s in segments], np.int64),
        class_names,
    )
    num_points = np.array([len(s.index) for s in segments], np.int64)
    return PseudoLabels(boxes, quality, num_points, tuple(s.cameras for s in segments), placed.yaw_sources)
