"""Refit of tracks to LiDAR points: size from the frames that show it, place from the visible bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.priors import largest_sizes
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.extents import extents, fits, moving_middle, moving_size, standing_extent, top_of
from lidarloop_core.labelling.refining.points import DriveCloud, Looks
from lidarloop_core.labelling.refining.tracks import Track, headings, smoothed
from lidarloop_core.tracking.kalman import HEIGHT_VARIANCE_M2, STATE_SIZE, UNKNOWN

FloatArray = npt.NDArray[np.float64]

_AROUND_M = 0.3  # points are searched this far around a box
_BEYOND = 0.25  # and along it by this share of its length more
_CONFIRM_M = 0.1  # points within this of a box confirm it


def refit(
    tracks: Sequence[Track], cloud: DriveCloud, times_s: FloatArray, class_names: tuple[str, ...], config: RefineConfig
) -> list[Track]:
    """The tracks with boxes fitted to the points near them, and with the number of points in each frame.

    Args:
        tracks: tracks of one drive, world frame.
        cloud: points of the drive, world frame.
        times_s: (T,) times of the drive's frames, seconds.
        class_names: names of the tracks' labels.
        config: limits of the refinement.
    """
    if config.refit:
        looks = _look(tracks, cloud, _AROUND_M, _BEYOND, config)
        largest = largest_sizes(class_names)
        tracks = [
            _refit_standing(t, k, largest[t.label]) if t.stands else t for t, k in zip(tracks, looks, strict=True)
        ]
        moving = [i for i, t in enumerate(tracks) if not t.stands]
        again = _refit_moving([tracks[i] for i in moving], [looks[i] for i in moving], times_s, class_names, config)
        for i, track in zip(moving, again, strict=True):
            tracks[i] = track
    return [
        replace(t, num_points=k.count())
        for t, k in zip(tracks, _look(tracks, cloud, _CONFIRM_M, 0.0, config), strict=True)
    ]


def _look(
    tracks: Sequence[Track], cloud: DriveCloud, margin_m: float, stretch: float, config: RefineConfig
) -> list[Looks]:
    order = sorted(range(len(tracks)), key=lambda i: -tracks[i].support)
    boxes = np.array([tracks[i].values for i in order])
    active = np.array([tracks[i].spans(boxes.shape[1]) for i in order])
    active &= np.linalg.norm(boxes[..., :2] - cloud.sensors[None], axis=2) < config.max_range_m
    length = boxes[:, 0, 3]
    across_m = margin_m * np.minimum(1.0, length / 2)
    looks = cloud.looks(boxes, active, np.column_stack([across_m + stretch * length, across_m]))
    return [looks[i] for i in np.argsort(order)]


def _refit_standing(track: Track, looks: Looks, largest: FloatArray) -> Track:
    if not len(looks.points):
        return track
    values = track.values.copy()
    c, s = np.cos(values[0, 6]), np.sin(values[0, 6])
    middle = []
    for axis in (0, 1):
        extent = standing_extent(extents(looks, axis), float(values[0, 3 + axis]))
        half = float(values[0, 3 + axis]) / 2
        low, high = extent if extent is not None and extent[1] - extent[0] <= largest[axis] else (-half, half)
        middle.append((low + high) / 2)
        values[:, 3 + axis] = high - low
    values[:, 0] += middle[0] * c - middle[1] * s
    values[:, 1] += middle[0] * s + middle[1] * c
    return replace(track, values=_raised(values, looks, largest))


def _raised(values: FloatArray, looks: Looks, largest: FloatArray) -> FloatArray:
    """The boxes (T, 9) with unchanged undersides, and with tops at the highest points."""
    values = values.copy()
    height = float(values[0, 5])
    top = top_of(looks)
    if top is not None and top + height / 2 <= largest[2] and fits(top + height / 2, height):
        values[:, 5] = top + height / 2
        values[:, 2] += top / 2 - height / 4
    return values


def _refit_moving(
    tracks: list[Track], looks: list[Looks], times_s: FloatArray, class_names: tuple[str, ...], config: RefineConfig
) -> list[Track]:
    if not tracks:
        return []
    num_frames = len(times_s)
    mean = np.zeros((num_frames, len(tracks), STATE_SIZE))
    covariance = np.tile(np.eye(STATE_SIZE) * UNKNOWN, (num_frames, len(tracks), 1, 1))
    seen = np.zeros((num_frames, len(tracks)), np.bool_)
    position_m = config.motion.column("position_m", class_names)
    sizes = []
    largest = largest_sizes(class_names)
    for i, (track, look) in enumerate(zip(tracks, looks, strict=True)):
        sides = [extents(look, axis) for axis in (0, 1)]
        size = [
            min(moving_size(side, float(track.values[0, 3 + axis])), float(largest[track.label, axis]))
            for axis, side in enumerate(sides)
        ]
        (u, blur_u), (v, blur_v) = (moving_middle(side, m) for side, m in zip(sides, size, strict=True))
        c, s = np.cos(track.values[:, 6]), np.sin(track.values[:, 6])
        mean[:, i, :3] = track.values[:, :3]
        measured = np.isfinite(u) & np.isfinite(v)
        mean[measured, i, 0] += (u * c - v * s)[measured]
        mean[measured, i, 1] += (u * s + v * c)[measured]
        labelled = np.zeros(num_frames, np.bool_)
        labelled[track.frames] = True
        seen[:, i] = measured
        if not measured.any():
            seen[:, i] = labelled
        rotation = np.array([[c, -s], [s, c]]).transpose(2, 0, 1)
        noise = np.zeros((num_frames, 2, 2))
        coarse = float(position_m[track.label])
        noise[:, 0, 0] = np.where(measured, np.nan_to_num(blur_u), coarse) ** 2
        noise[:, 1, 1] = np.where(measured, np.nan_to_num(blur_v), coarse) ** 2
        covariance[:, i, :2, :2] = rotation @ noise @ rotation.transpose(0, 2, 1)
        covariance[:, i, 2, 2] = HEIGHT_VARIANCE_M2
        sizes.append(size)
    starts = np.array([t.values[t.frames[0], :3] for t in tracks])
    labels = np.array([t.label for t in tracks])
    paths = smoothed(times_s, mean, covariance, seen, starts, labels, class_names, config)
    result = []
    for track, look, path, size in zip(tracks, looks, paths, sizes, strict=True):
        values = track.values.copy()
        values[:, :3], values[:, 7:9] = path[:, :3], path[:, 3:]
        values[:, 3:5] = size
        values[:, 6], by_motion = headings(path[:, 3:], float(track.values[0, 6]))
        result.append(replace(track, values=_raised(values, look, largest[track.label]), heading_by_motion=by_motion))
    return result
