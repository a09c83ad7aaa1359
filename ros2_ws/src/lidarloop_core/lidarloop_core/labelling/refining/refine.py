"""Refinement: labels of all frames of a drive → better labels, for what one frame misses another shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.iou import nms_rotated, nms_rotated_by_label
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.linking import link
from lidarloop_core.labelling.refining.observations import Observations, drive_SE3_lidars, observe
from lidarloop_core.labelling.refining.points import CloudOf, DriveCloud
from lidarloop_core.labelling.refining.presence import Presence, presence
from lidarloop_core.labelling.refining.refit import refit
from lidarloop_core.labelling.refining.rolling_shutter import RollingShutter, at_stamps
from lidarloop_core.labelling.refining.tracks import Track, estimate

FloatArray = npt.NDArray[np.float64]

LooksAt = Callable[[int, FloatArray], npt.NDArray[np.bool_]]
"""Index of a frame and places (N, 3), metres, LiDAR's frame → (N,) bool, whether a camera looked at them."""


def refine(
    labels: Sequence[PseudoLabels],
    stamps_ns: Sequence[int],
    world_SE3_lidar: Sequence[SE3],
    config: RefineConfig | None = None,
    cloud_of: CloudOf | None = None,
    rolling_shutter: RollingShutter | None = None,
    looks_at: LooksAt | None = None,
) -> list[PseudoLabels]:
    """Refines the labels of one drive.

    Args:
        labels: T labels, one of each frame, in the frame of its keyframe LiDAR.
        stamps_ns: T ascending stamps, nanoseconds.
        world_SE3_lidar: T poses of the LiDAR.
        config: the steps.
        cloud_of: index of a frame → its LiDAR's points (N, ≥3), in the same frame as its labels; called once for each.
            They confirm boxes that are filled in, and boxes are fitted to them. Without points gaps are filled, but
            tracks are not extended.
        rolling_shutter: rotation of the LiDAR, for labels that are valid at the stamps. Without it a moving object
            stays where its points are, as in data sets made by labelling clouds.
        looks_at: tells which places the cameras looked at. Without it they are taken to look everywhere.

    Returns:
        T refined labels, each in the frame of its keyframe LiDAR.

    Raises:
        ValueError: labels, stamps and poses differ in number.
    """
    config = config or RefineConfig()
    if not len(labels) == len(stamps_ns) == len(world_SE3_lidar):
        raise ValueError(
            f"refine received labels of {len(labels)} frames, {len(stamps_ns)} stamps, {len(world_SE3_lidar)} poses; "
            "expected one of each for every frame"
        )
    if not sum(map(len, labels)):
        return list(labels)
    class_names = labels[0].boxes.class_names
    drive_SE3_lidar = drive_SE3_lidars(world_SE3_lidar)
    sensors = np.array([pose.translation[:2] for pose in drive_SE3_lidar])
    times_s = (np.asarray(stamps_ns, np.int64) - int(stamps_ns[0])) * 1e-9

    observations = observe(labels, drive_SE3_lidar)
    linked = link(observations, times_s, stamps_ns, class_names, config)
    tracks = estimate(observations, linked, times_s, class_names, config)
    if cloud_of is not None:
        cloud = DriveCloud(cloud_of, drive_SE3_lidar, config.max_range_m, config.end_empty)
        known = np.array([observations.has_front[track.rows].any() for track in tracks], np.bool_)
        tracks = refit(tracks, cloud, times_s, class_names, config, known)
    if rolling_shutter is not None:
        tracks = at_stamps(tracks, drive_SE3_lidar, rolling_shutter)
    looked: list[npt.NDArray[np.bool_] | None] = [None] * len(tracks)
    if looks_at is not None and config.weigh_views:
        looked = list(_looked_at(tracks, drive_SE3_lidar, looks_at))
    shown = [presence(t, observations, times_s, sensors, config, at) for t, at in zip(tracks, looked, strict=True)]
    return [
        _frame(i, labels[i], observations, tracks, shown, pose.inverse(), config)
        for i, pose in enumerate(drive_SE3_lidar)
    ]


def _looked_at(tracks: Sequence[Track], drive_SE3_lidar: Sequence[SE3], looks_at: LooksAt) -> npt.NDArray[np.bool_]:
    """(N, T) bool, whether a camera looked at each track in each frame."""
    if not tracks:
        return np.zeros((0, len(drive_SE3_lidar)), np.bool_)
    return np.column_stack(
        [
            looks_at(frame, pose.inverse().transform(np.array([t.values[frame, :3] for t in tracks])))
            for frame, pose in enumerate(drive_SE3_lidar)
        ]
    )


def _frame(
    frame: int,
    before: PseudoLabels,
    observations: Observations,
    tracks: Sequence[Track],
    presences: Sequence[Presence],
    lidar_SE3_drive: SE3,
    config: RefineConfig,
) -> PseudoLabels:
    """The labels of one frame."""
    here = [(t, p) for t, p in zip(tracks, presences, strict=True) if p.shown[frame]]
    rows = np.array([p.row[frame] for _, p in here], np.int64)
    values = np.array([t.values[frame] for t, _ in here]).reshape(-1, 9)
    labels = np.array([t.label for t, _ in here], np.int64)
    confidence = np.array([p.confidence[frame] for _, p in here])
    scores = confidence.copy()
    seen = rows >= 0
    own = rows[seen]
    if not config.smooth:
        values[seen, :3], values[seen, 6:] = observations.values[own, :3], observations.values[own, 6:]
    if not config.fix_size:
        values[seen, 3:6] = observations.values[own, 3:6]
    if not config.vote_class:
        labels[seen] = observations.labels[own]
    if not config.rescore:
        scores[seen] = observations.scores[own]
    num_points = np.zeros(len(here), np.int64)
    num_points[seen] = observations.num_points[own]
    places = np.where(seen, observations.place[rows], -1) if len(rows) else rows
    boxes = Boxes3D(values.astype(np.float32), scores.astype(np.float32), labels, before.boxes.class_names)
    refined = PseudoLabels(
        boxes.transformed(lidar_SE3_drive),
        confidence.astype(np.float32),
        num_points,
        tuple(before.cameras[i] if i >= 0 else () for i in places),
        tuple(
            _yaw_source(t, frame, before.yaw_sources[i] if i >= 0 else _filled_source(t, observations), config)
            for i, (t, _) in zip(places, here, strict=True)
        ),
    )
    kept = np.sort(nms_rotated(refined.boxes.values, refined.boxes.scores, config.suppress_iou))
    refined, total = refined[kept], np.array([float(p.confidence[p.shown].sum()) for _, p in here])[kept]
    thresholds = [config.double_iou] * len(refined.boxes.class_names)
    return refined[np.sort(nms_rotated_by_label(refined.boxes.values, total, refined.boxes.labels, thresholds))]


def _yaw_source(track: Track, frame: int, before: str, config: RefineConfig) -> str:
    """What a label's heading rests on, where its own label had it from ``before``."""
    if config.smooth and track.heading_by_motion[frame]:
        return "track"
    return "vote" if config.smooth and track.front_is_sure else before


def _filled_source(track: Track, observations: Observations) -> str:
    """What the heading of a label that is filled in rests on: the other labels of its track."""
    return "box_fit_on_lane" if observations.has_front[track.rows].any() else "box_fit"
