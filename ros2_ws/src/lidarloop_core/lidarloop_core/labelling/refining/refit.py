"""Refit of tracks to LiDAR points: size from the frames that show it, place from the visible bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.priors import largest_sizes
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.extents import (
    extents,
    fits,
    moving_extent,
    moving_middle,
    moving_size,
    standing_bounds,
    standing_extent,
    top_of,
    usual_extent,
    usual_size,
)
from lidarloop_core.labelling.refining.fronts import VEHICLES, Road, with_fronts
from lidarloop_core.labelling.refining.points import DriveCloud, Looks
from lidarloop_core.labelling.refining.tracks import Track, headings, smoothed
from lidarloop_core.tracking.kalman import HEIGHT_VARIANCE_M2, STATE_SIZE, UNKNOWN

FloatArray = npt.NDArray[np.float64]

_AROUND_M = 0.3  # points are searched this far around a box
_BEYOND = 0.25  # and along it by this share of its length more
_CONFIRM_M = 0.1  # points within this of a box confirm it
_ENOUGH_TRACKS = 5  # of a class that show both ends give its usual size in a drive
_TRUCK_M = (5.4, 2.2, 2.3)  # longer or wider than the first two, and higher than the last, is a truck
_TRUCK_TOP_M, _TRUCK_TOP = 0.5, 0.1  # in its uppermost part, so high, lies at least this share of its points


def refit(
    tracks: Sequence[Track],
    cloud: DriveCloud,
    times_s: FloatArray,
    class_names: tuple[str, ...],
    config: RefineConfig,
    front_is_known: npt.NDArray[np.bool_] | None = None,
) -> list[Track]:
    """The tracks with boxes fitted to the points near them, and with the number of points in each frame.

    Args:
        tracks: N tracks of one drive, world frame.
        cloud: points of the drive, world frame.
        times_s: (T,) times of the drive's frames, seconds.
        class_names: names of the tracks' labels.
        config: steps and limits of the refinement.
        front_is_known: (N,) bool, whether lanes gave a track's front; None for none.
    """
    tracks = list(tracks)
    if config.refit:
        looks = _look(tracks, cloud, _AROUND_M, _BEYOND, config)
        if config.class_by_size:
            tracks = trucks_by_size(tracks, looks, class_names)
        tracks = _refitted(tracks, looks, times_s, class_names, config)
    confirming = _look(tracks, cloud, _CONFIRM_M, 0.0, config)
    if config.refit and config.vote_front:
        known = np.zeros(len(tracks), np.bool_) if front_is_known is None else front_is_known
        road = Road.of(cloud.sensors, config.drives_right)
        tracks = with_fronts(tracks, confirming, road, _are_vehicles(class_names), known)
    return [
        replace(t, num_points=k.count(), emptied=_emptied(t, cloud, config))
        for t, k in zip(tracks, confirming, strict=True)
    ]


def _are_vehicles(class_names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    return np.array([name in VEHICLES for name in class_names], np.bool_)


def _emptied(track: Track, cloud: DriveCloud, config: RefineConfig) -> npt.NDArray[np.bool_] | None:
    """(T,) bool, the unlabelled frames in which the LiDAR looked through the place of a standing track; None if that is
    not searched."""
    if not (config.end_empty and track.stands):
        return None
    active = np.linalg.norm(track.values[:, :2] - cloud.sensors, axis=1) < config.max_range_m
    active[track.frames] = False
    return cloud.emptied(track.values, active)


def trucks_by_size(tracks: Sequence[Track], looks: Sequence[Looks], class_names: tuple[str, ...]) -> list[Track]:
    """The tracks, with cars that are larger than cars made trucks.

    Networks take box trucks for cars. By area alone Autoware does so, above 12.1 m²; here the points must be as high as
    a truck as well, and as long or as wide.
    """
    if not {"car", "truck"} <= {*class_names}:
        return list(tracks)
    car, truck = class_names.index("car"), class_names.index("truck")
    return [
        replace(t, label=truck) if t.label == car and _is_truck(t, k) else t for t, k in zip(tracks, looks, strict=True)
    ]


def _is_truck(track: Track, looks: Looks) -> bool:
    top = top_of(looks)
    if top is None or top + float(track.values[0, 5]) / 2 < _TRUCK_M[2]:
        return False
    high = looks.points[:, 2] > _TRUCK_M[2] - float(track.values[0, 5]) / 2 - _TRUCK_TOP_M
    shown = [standing_bounds(extents(looks, axis)).shown_m for axis in (0, 1)]
    return bool(high.mean() > _TRUCK_TOP) and (shown[0] > _TRUCK_M[0] or shown[1] > _TRUCK_M[1])


def _refitted(
    tracks: list[Track],
    looks: list[Looks],
    times_s: FloatArray,
    class_names: tuple[str, ...],
    config: RefineConfig,
) -> list[Track]:
    largest = largest_sizes(class_names)
    vehicles = _are_vehicles(class_names)
    sizes = usual_sizes(tracks, looks)
    usual = [size if config.usual_size and vehicles[t.label] else None for t, size in zip(tracks, sizes, strict=True)]
    result = [
        _refit_standing(t, k, largest[t.label], size) if t.stands else t
        for t, k, size in zip(tracks, looks, usual, strict=True)
    ]
    moving = [i for i, t in enumerate(tracks) if not t.stands]
    again = _refit_moving(
        [tracks[i] for i in moving],
        [looks[i] for i in moving],
        times_s,
        class_names,
        config,
        [usual[i] for i in moving],
    )
    for i, track in zip(moving, again, strict=True):
        result[i] = track
    return result


def usual_sizes(tracks: Sequence[Track], looks: Sequence[Looks]) -> FloatArray:
    """(N, 2) usual length and width of each track's class in this drive, metres.

    It is the median of the tracks that show both ends; where these are few, each track's own size, and no less than the
    median of those of its class.
    """
    own = np.array([t.values[0, 3:5] for t in tracks]).reshape(-1, 2)
    labels = np.array([t.label for t in tracks], np.int64)
    seen = np.full_like(own, np.nan)
    for i, (track, look) in enumerate(zip(tracks, looks, strict=True)):
        for axis in (0, 1):
            found = extents(look, axis)
            size = standing_bounds(found).size_m if track.stands else moving_extent(found)
            seen[i, axis] = np.nan if size is None or not fits(size, own[i, axis]) else size
    usual = own.copy()
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        for axis in (0, 1):
            sizes = seen[rows, axis][np.isfinite(seen[rows, axis])]
            typical = float(np.median(own[rows, axis]))
            usual[rows, axis] = (
                np.median(sizes) if len(sizes) >= _ENOUGH_TRACKS else np.maximum(own[rows, axis], typical)
            )
    return usual


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


def _refit_standing(track: Track, looks: Looks, largest: FloatArray, usual: FloatArray | None = None) -> Track:
    if not len(looks.points):
        return track
    values = track.values.copy()
    c, s = np.cos(values[0, 6]), np.sin(values[0, 6])
    middle = []
    for axis in (0, 1):
        bounds = standing_bounds(extents(looks, axis))
        if usual is None:
            extent = standing_extent(bounds, float(values[0, 3 + axis]))
        else:
            extent = usual_extent(bounds, float(usual[axis]), float(largest[axis]))
            values[:, 3 + axis] = usual[axis]
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
    tracks: list[Track],
    looks: list[Looks],
    times_s: FloatArray,
    class_names: tuple[str, ...],
    config: RefineConfig,
    usual: Sequence[FloatArray | None],
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
    for i, (track, look, expected) in enumerate(zip(tracks, looks, usual, strict=True)):
        sides = [extents(look, axis) for axis in (0, 1)]
        found = [moving_extent(side) for side in sides]
        size = [
            min(
                moving_size(found[axis], float(track.values[0, 3 + axis]))
                if expected is None
                else usual_size(found[axis], float(expected[axis])),
                float(largest[track.label, axis]),
            )
            for axis in (0, 1)
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
