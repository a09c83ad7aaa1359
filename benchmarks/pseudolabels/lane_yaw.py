"""How well the lane map, the motion and the points of vehicles give their yaw.

Measured on Argoverse 2 (log 7fab2350, and adcf7d18 where said), for vehicles of nuScenes' classes that hold LiDAR
points by the labels' own count; a yaw is right if its axis lies within 15° of the labelled one, front and back alike.

- Lane: the map at the labelled centre, at every annotated stamp.
- Track: at every annotated stamp. The labelled centres are moved by Gaussian noise, independent from stamp to stamp;
  which belong together is known. The tracker's filter and smoother run over each vehicle's, and the yaw is the way it
  moves, or, where it hardly does, the way it moved at the nearest time it did; one that never moves has its lane's.
  True pseudo-labels err more alike from stamp to stamp than this noise, some are missing, and they have to be
  associated: ``lane_yaw.json`` has the figures of that, too ("refined"): labels with this noise, the sizes of the shape
  priors and the lane's yaw, through the whole refinement; a vehicle that comes out nowhere counts as wrong there.
- Box fit: points inside the labelled cuboid, less those on the ground, at the stamps that have a sweep (two of the one
  log and one of the other); neither the yaw nor the true size is given. Every vehicle with enough points for a fit
  counts, sure or not.

"Inside an intersection": the nearest centre line is marked so and no farther off than 3 m. Both sides of a comparison
are over the same vehicles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from benchmarks.checks import Context, Row, as_json, at_least, at_most
from benchmarks.samples import each, labels_of, world_SE3_ego
from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import atomic
from lidarloop_core.labelling.placing.box_fit import CONFIDENT, MIN_POINTS, fit_box
from lidarloop_core.labelling.placing.lanes import LaneHeading, LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.labelling.refining.refine import refine
from lidarloop_core.sample import Annotations
from lidarloop_core.tracking.kalman import STATE_SIZE, UNKNOWN, Beliefs, smooth
from lidarloop_training.data.av2.reader import Av2Source

VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")
RIGHT_RAD = np.radians(15)
NEAR_LANE_M = 3.0
NOISE_M = 0.3
"""Standard deviation of the moved centres along each axis."""

NOISE_SEEDS = (0, 1, 2)
ACCELERATION_MPSS = 2.0
"""Of vehicles, for the smoother: standard deviation over a second."""

MOVES_MPS = 1.0
SURE_DEVIATIONS = 4.0
"""A smoothed speed above this, and above so many of its own standard deviations, has a direction."""

SAME_VEHICLE_M = 2.0
GROUND_M = 0.2
"""Points so little above the cuboid's underside are the ground."""

_LOGS = ("av2/sensor", "av2/sensor_dataset_logs")
_SENSOR_XY = (1.35, 0.0)  # both LiDARs in the ego frame, as calibrated

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def check_lane_yaw(context: Context) -> Iterator[Row]:
    """The rows of the check; figures of every kind of vehicle go to ``lane_yaw.json``."""
    figures: dict[str, Any] = {"noise_m": NOISE_M, "noise_seeds": NOISE_SEEDS}
    log = read_log(context.data / _LOGS[0])
    lane, plain = errors_of_lanes(log), errors_of_nearest_lanes(log)
    near = log.distance_m <= NEAR_LANE_M
    inside = log.in_intersection & near
    n, m = len(lane), int(near.sum())
    yield at_least(f"lane yaw, {m} vehicles ≤ 3 m from a lane: share right to 15°", _share(lane[near]), 0.93)
    yield at_least(f"lane yaw, all {n} vehicles: share right to 15°", _share(lane), 0.87)
    yield at_most("the same: median error, degrees", float(np.degrees(np.median(lane))), 1.0)
    yield at_least("the same less the plain nearest line's share", _share(lane) - _share(plain), 0.0)
    figures["lane"] = {"nearest line": _by_kind(plain, log), "heading": _by_kind(lane, log)}

    tracks = [errors_of_tracks(log, seed) for seed in NOISE_SEEDS]
    share = float(np.mean([_share(track[inside]) for track in tracks]))
    what = f"inside intersections, {inside.sum()} vehicles: share right to 15°"
    yield _beats(f"{what} by track", share, f"by map on the same {_share(lane[inside]):.3f}", _share(lane[inside]))
    figures["track"] = [_by_kind(track, log) for track in tracks]
    figures["refined"] = _by_kind(errors_of_refined(log, NOISE_SEEDS[0]), log)

    seen = [with_points(context.data / name) for name in _LOGS]
    fits = Seen(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in seen), strict=True)))
    inside = fits.in_intersection & (fits.distance_m <= NEAR_LANE_M)
    what = f"inside intersections, {inside.sum()} vehicles of 3 sweeps: share right to 15°"
    by_map = _share(fits.by_lane[inside])
    yield _beats(f"{what} by box fit", _share(fits.by_points[inside]), f"by map on the same {by_map:.3f}", by_map)
    what = f"all {len(inside)} vehicles of 3 sweeps with ≥ {MIN_POINTS} points: share right to 15°"
    by_map = _share(fits.by_lane)
    yield _beats(f"{what}, sure fits, else lanes", _share(fits.by_both), f"by map alone {by_map:.3f}", by_map)
    figures["box fit"] = {
        name: {kind: _share(getattr(fits, name)[rows]) for kind, rows in (("all", inside | True), ("inside", inside))}
        for name in ("by_lane", "by_points", "by_both")
    } | {"num_all": len(inside), "num_inside": int(inside.sum()), "num_sure": int(fits.sure.sum())}
    atomic.write_bytes(context.out / "lane_yaw.json", as_json(figures))


@dataclass(frozen=True)
class Log:
    """The labelled vehicles with points of a log, stamp by stamp.

    Attributes:
        stamps_ns: T annotated stamps, nanoseconds.
        poses: T ego poses, ``world_SE3_ego``.
        labels: vehicles at each stamp, in the ego frame.
        lanes: centre lines of the map, world frame.
        distance_m: (N,) distance of each vehicle to the nearest centre line.
        in_intersection: (N,) whether that centre line is in an intersection.
    """

    stamps_ns: list[int]
    poses: list[SE3]
    labels: list[Annotations]
    lanes: LaneLookup
    distance_m: FloatArray
    in_intersection: BoolArray


@dataclass(frozen=True)
class Seen:
    """Vehicles with points enough for a fit, (N,) each: errors in radians of three ways, and where they stand."""

    by_lane: FloatArray
    by_points: FloatArray
    by_both: FloatArray
    sure: BoolArray
    distance_m: FloatArray
    in_intersection: BoolArray


def read_log(root: Path) -> Log:
    """All annotated stamps, whether their sweep is there or not."""
    source = Av2Source(root, cameras=False)
    lane_map = source[0].lane_map
    assert lane_map is not None
    stamps = [(stamp, pose, _vehicles(labels)) for stamp, pose, labels in source.labelled_stamps()]
    stamps_ns, poses, labels = (list(column) for column in zip(*stamps, strict=True))
    lanes = LaneLookup(lane_map)
    centers = np.concatenate([_in_world(pose, own.boxes) for pose, own in zip(poses, labels, strict=True)])
    nearest = lanes.nearest(centers)
    return Log(stamps_ns, poses, labels, lanes, nearest.distance_m, lanes.heading(centers).in_intersection)


def errors_of_lanes(log: Log) -> FloatArray:
    """(N,) radians, of the map at the labelled centres."""
    return np.concatenate(
        [
            _axis_error(_lane_yaws(pose, log.lanes.heading(_in_world(pose, own.boxes)).yaw), own.boxes.yaws)
            for pose, own in zip(log.poses, log.labels, strict=True)
        ]
    )


def errors_of_nearest_lanes(log: Log) -> FloatArray:
    """(N,) radians, of the nearest centre line at the labelled centres."""
    return np.concatenate(
        [
            _axis_error(_lane_yaws(pose, log.lanes.nearest(_in_world(pose, own.boxes)).yaw), own.boxes.yaws)
            for pose, own in zip(log.poses, log.labels, strict=True)
        ]
    )


def errors_of_tracks(log: Log, seed: int) -> FloatArray:
    """(N,) radians, of the way that vehicles move, by noisy centres."""
    rng = np.random.default_rng(seed)
    centers = np.concatenate([_in_world(pose, own.boxes) for pose, own in zip(log.poses, log.labels, strict=True)])
    noisy = centers + rng.normal(0, NOISE_M, centers.shape) * (1.0, 1.0, 0.0)
    stamp = np.repeat(np.arange(len(log.labels)), [len(own.boxes) for own in log.labels])
    _, track = np.unique([name for own in log.labels for name in own.instance_ids], return_inverse=True)
    velocity, deviation = _velocities(noisy, stamp, track, np.array(log.stamps_ns))
    yaw = log.lanes.heading(noisy).yaw
    moves = np.linalg.norm(velocity, axis=1) > np.maximum(MOVES_MPS, SURE_DEVIATIONS * deviation)
    for i in np.unique(track[moves]):
        rows = np.flatnonzero(track == i)
        moving = rows[moves[rows]]
        nearest = moving[np.abs(stamp[rows, None] - stamp[None, moving]).argmin(axis=1)]
        yaw[rows] = np.arctan2(velocity[nearest, 1], velocity[nearest, 0])
    bounds = np.searchsorted(stamp, np.arange(len(log.labels) + 1))
    return np.concatenate(
        [
            _axis_error(_lane_yaws(pose, yaw[bounds[i] : bounds[i + 1]]), own.boxes.yaws)
            for i, (pose, own) in enumerate(zip(log.poses, log.labels, strict=True))
        ]
    )


def _velocities(
    centers: FloatArray, stamp: npt.NDArray[np.int64], track: npt.NDArray[np.int64], stamps_ns: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """(N, 2) m/s over the ground, smoothed over all stamps of each track, and (N,) their standard deviation."""
    num_stamps, num_tracks = len(stamps_ns), int(track.max()) + 1
    seen = np.zeros((num_stamps, num_tracks), np.bool_)
    mean = np.zeros((num_stamps, num_tracks, STATE_SIZE))
    origin = centers.mean(axis=0)
    seen[stamp, track], mean[stamp, track, :3] = True, centers - origin
    measured_variance = np.diag([NOISE_M**2, NOISE_M**2, 0.01, UNKNOWN, UNKNOWN])
    measured = [Beliefs(at, np.broadcast_to(measured_variance, (num_tracks, STATE_SIZE, STATE_SIZE))) for at in mean]
    unknown = np.diag([UNKNOWN, UNKNOWN, UNKNOWN, 100.0, 100.0])
    prior = Beliefs(np.zeros((num_tracks, STATE_SIZE)), np.broadcast_to(unknown, measured[0].covariance.shape))
    times_s = (stamps_ns - stamps_ns[0]) * 1e-9
    path = smooth(times_s, measured, seen, np.full(num_tracks, ACCELERATION_MPSS), prior)
    velocity = np.array([belief.mean[:, 3:5] for belief in path])[stamp, track]
    variance = np.array([belief.covariance[:, 3, 3] for belief in path])[stamp, track]
    return velocity, np.sqrt(variance)


def errors_of_refined(log: Log, seed: int) -> FloatArray:
    """(N,) radians, of refined noisy labels; π/2 where a vehicle is not among them."""
    rng = np.random.default_rng(seed)
    noisy = [_as_pseudo_labels(own, pose, log.lanes, rng) for pose, own in zip(log.poses, log.labels, strict=True)]
    refined = refine(noisy, log.stamps_ns, log.poses)
    errors = []
    for own, found in zip(log.labels, refined, strict=True):
        apart = np.linalg.norm(own.boxes.centers[:, None, :2] - found.boxes.centers[None, :, :2], axis=2)
        mine, theirs = linear_sum_assignment(np.minimum(apart, 2 * SAME_VEHICLE_M))
        same = apart[mine, theirs] < SAME_VEHICLE_M
        error = np.full(len(own.boxes), np.pi / 2)
        error[mine[same]] = _axis_error(found.boxes.yaws[theirs[same]], own.boxes.yaws[mine[same]])
        errors.append(error)
    return np.concatenate(errors)


def with_points(root: Path) -> Seen:
    """The vehicles of a log's sweeps that have points enough for a fit."""
    source, rows, priors = Av2Source(root, cameras=False), [], ShapePriors.paper()
    for sample in each(source):
        own, pose = _vehicles(labels_of(sample)), world_SE3_ego(sample)
        assert sample.lane_map is not None
        lanes = LaneLookup(sample.lane_map)
        nearest, lane = lanes.nearest(_in_world(pose, own.boxes)), lanes.heading(_in_world(pose, own.boxes))
        lane_yaw = _lane_yaws(pose, lane.yaw)
        inside = points_in_boxes(sample.keyframe.points, own.boxes.values)
        for j, (box, prior) in enumerate(zip(own.boxes.values, priors.of(own.boxes.names), strict=True)):
            points = sample.keyframe.points[inside[j], :3]
            points = points[points[:, 2] > box[2] - box[5] / 2 + GROUND_M]
            if len(points) >= MIN_POINTS:
                fit = fit_box(points, prior, _SENSOR_XY)
                both = _joined_yaw(fit.yaw, fit.confidence, lane, lane_yaw, j)
                yaws = np.array([lane_yaw[j], fit.yaw, both])
                errors = _axis_error(yaws, np.full(3, box[6]))
                rows.append((*errors, fit.confidence, nearest.distance_m[j], lane.in_intersection[j]))
    table = np.array(rows, np.float64).T
    return Seen(table[0], table[1], table[2], table[3] > CONFIDENT, table[4], table[5] > 0)


def _joined_yaw(fitted: float, confidence: float, lane: LaneHeading, lane_yaw: FloatArray, j: int) -> float:
    """The rule of the pipeline: sure fits first, then lanes that are certain."""
    return fitted if confidence > CONFIDENT or not lane.certain[j] else float(lane_yaw[j])


def _vehicles(labels: Annotations) -> Annotations:
    keep = np.isin(labels.boxes.names, VEHICLES) & (labels.num_lidar_pts > 0)
    ids = tuple(np.array(labels.instance_ids)[keep])
    return Annotations(labels.boxes[keep], ids, labels.num_lidar_pts[keep], labels.visibility[keep])


def _as_pseudo_labels(own: Annotations, pose: SE3, lanes: LaneLookup, rng: np.random.Generator) -> PseudoLabels:
    values = own.boxes.values.copy()
    values[:, :2] += rng.normal(0, NOISE_M, (len(values), 2))
    moved = replace(own.boxes, values=values)
    values[:, 3:6] = ShapePriors.paper().of(own.boxes.names)
    values[:, 6] = _lane_yaws(pose, lanes.heading(_in_world(pose, moved)).yaw)
    values[:, 7:9] = 0.0
    half = np.full(len(values), 0.5)
    boxes = Boxes3D(values, half, own.boxes.labels, own.boxes.class_names)
    return PseudoLabels(boxes, half, own.num_lidar_pts, ((),) * len(values), ("lane",) * len(values))


def _in_world(world_SE3_ego: SE3, boxes: Boxes3D) -> FloatArray:
    return world_SE3_ego.transform(boxes.centers.astype(np.float64))


def _lane_yaws(world_SE3_ego: SE3, yaws: FloatArray) -> FloatArray:
    """Directions in the world, as yaws in the ego frame."""
    turned = world_SE3_ego.inverse().rotate(np.column_stack([np.cos(yaws), np.sin(yaws), np.zeros_like(yaws)]))
    return np.arctan2(turned[:, 1], turned[:, 0])


def _axis_error(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> FloatArray:
    """Angles between axes, in [0, π/2]."""
    apart = (a.astype(np.float64) - b) % np.pi
    return np.asarray(np.minimum(apart, np.pi - apart), np.float64)


def _share(errors: FloatArray) -> float:
    return float((errors < RIGHT_RAD).mean())


def _by_kind(errors: FloatArray, log: Log) -> dict[str, dict[str, float]]:
    near = log.distance_m <= NEAR_LANE_M
    kinds = {
        "all": near | True,
        "within 3 m of a lane": near,
        "inside intersections": near & log.in_intersection,
        "nearest lane in an intersection": log.in_intersection,
    }
    return {
        kind: {
            "vehicles": int(rows.sum()),
            "share right to 15°": _share(errors[rows]),
            "median error, degrees": float(np.degrees(np.median(errors[rows]))),
        }
        for kind, rows in kinds.items()
    }


def _beats(what: str, value: float, rival: str, rival_value: float) -> Row:
    return Row(what, value, f"> {rival}", value > rival_value)
