"""Deskewing, measured: on toy-town drives at speed, in every convention of drivers, with the shipped model, its cost.

The town's LiDAR fires each column at a time of its own while the ego drives on; ``compensated`` gives the ideal cloud.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.checks import SHIPPED_MODEL, Context, Row, all_of, at_least, at_most, report_only
from benchmarks.samples import labels_of
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.host_pipeline import HostPipeline
from lidarloop_core.io.bag import message_type
from lidarloop_core.io.messages import cloud_message
from lidarloop_core.pointcloud.decode import decode_cloud, read_points
from lidarloop_core.pointcloud.deskew import SweepMotion, deskewed, motion_during
from lidarloop_core.pointcloud.guard import guard_points
from lidarloop_core.pointcloud.point_time import TIME_COLUMN, PointTimeReader, PointTimeSettings
from lidarloop_core.sample import Sweep
from lidarloop_training.evaluation.metrics.matching import GroundTruth
from lidarloop_training.evaluation.metrics.nuscenes import evaluate_detections
from lidarloop_training.toytown.drive import Clouds, ToyTownDrive
from lidarloop_training.toytown.lidar_styles import HDL32E
from lidarloop_training.toytown.streets.motion import FloatArray, Track
from lidarloop_training.toytown.town import Town

MAX_SPEED_MPS, MAX_TURN_RADPS = 25.0, np.radians(40)
SEEDS = (7, 8, 9)
ODOMETRY_HZ = 50.0
NUM_TIMED = 200_000
_SWEEP_S = 0.1
_COLUMNS = ("x", "y", "z", "intensity")


@dataclass(frozen=True)
class HurriedTrack(Track):
    """A track driven ``factor`` times as fast."""

    factor: float = 1.0

    def poses(self, times_s: FloatArray) -> FloatArray:
        return super().poses(self.factor * times_s)


class HurriedDrive(ToyTownDrive):
    """A drive whose ego drives ``factor`` times as fast; all else moves as it does."""

    def __init__(self, seed: int, factor: float, *, skewed: bool, duration_s: float = 6.0) -> None:
        super().__init__(seed, duration_s=duration_s, cameras=False, clouds=Clouds(skewed=skewed))
        self._factor = factor

    @cached_property
    def town(self) -> Town:
        town = super().town
        own = {field.name: getattr(town.ego, field.name) for field in dataclasses.fields(Track)}
        return dataclasses.replace(town, ego=HurriedTrack(**own, factor=self._factor))

    def motion_of(self, index: int) -> tuple[float, float]:
        """Speed (m/s) and rate of turning (rad/s) during the sweep of a sample."""
        x, y, _, yaw = self.town.ego.poses(np.array([self.time_s(index) - _SWEEP_S, self.time_s(index)])).T
        turn = np.abs((yaw[1] - yaw[0] + np.pi) % (2 * np.pi) - np.pi)
        return float(np.hypot(x[1] - x[0], y[1] - y[0]) / _SWEEP_S), float(turn / _SWEEP_S)

    def odometry(self, rate_hz: float) -> Trajectory:
        """The ego's poses as odometry at this rate gives them, from a second before the drive on."""
        times_s = np.arange(-0.4, self.duration_s + 0.2, 1 / rate_hz)
        stamps_ns = [self.stamp_ns(0) + round(1e9 * t) for t in times_s]
        return Trajectory.from_poses(stamps_ns, [self.town.world_SE3_ego(float(t)) for t in times_s])


def motion(odometry: Trajectory, sweep: Sweep) -> SweepMotion:
    """The LiDAR's motion in the 0.1 s that end at a sweep's stamp."""

    def world_SE3_lidar(at_ns: int) -> Any:
        return odometry.at(at_ns, max_gap_ns=500_000_000) @ HDL32E.ego_SE3_lidar

    return motion_during(world_SE3_lidar, sweep.stamp_ns, -_SWEEP_S, 0.0)


def check_point_errors(_: Context) -> Iterator[Row]:
    """Every fourth sweep of drives three times as fast as the town's traffic, and of the same bends at 1.4 times."""
    errors: dict[str, list[float]] = {"before": [], "after": [], "slow odometry": []}
    speeds, turns, longest = [], [], 0.0
    for seed in SEEDS:
        for factor in (3.0, 1.4):
            skewed, ideal = (HurriedDrive(seed, factor, skewed=s) for s in (True, False))
            fast, slow = skewed.odometry(ODOMETRY_HZ), skewed.odometry(10.0)
            for index in range(1, len(skewed), 4):
                speed, turn = skewed.motion_of(index)
                if speed > MAX_SPEED_MPS or turn > MAX_TURN_RADPS:
                    continue
                speeds.append(speed)
                turns.append(turn)
                sweep, true = skewed[index].keyframe, ideal[index].keyframe.points[:, :3]
                found = deskewed(sweep, motion(fast, sweep)).points[:, :3]
                longest = max(longest, float(np.linalg.norm(found - true, axis=1).max()))
                errors["before"].append(_mean_error_m(sweep.points[:, :3], true))
                errors["after"].append(_mean_error_m(found, true))
                errors["slow odometry"].append(_mean_error_m(deskewed(sweep, motion(slow, sweep)).points, true))
    yield report_only(f"{len(speeds)} toy-town sweeps: fastest, m/s", max(speeds))
    yield report_only("  sharpest turn, °/s", float(np.degrees(max(turns))))
    yield report_only("  mean point error before, cm", 100 * float(np.mean(errors["before"])))
    yield report_only("  mean point error before, worst sweep, cm", 100 * max(errors["before"]))
    yield at_most(
        f"  mean point error after, odometry at {ODOMETRY_HZ:g} Hz, cm", 100 * float(np.mean(errors["after"])), 1.0
    )
    yield at_most("  mean point error after, worst sweep, cm", 100 * max(errors["after"]), 1.0)
    yield report_only("  farthest point after, cm", 100 * longest)
    yield report_only("  mean point error after, odometry at 10 Hz, cm", 100 * float(np.mean(errors["slow odometry"])))


def _mean_error_m(points: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> float:
    return float(np.linalg.norm(points[:, :3] - true, axis=1).mean())


def conventions(seconds: npt.NDArray[np.float32], stamp_ns: int) -> dict[str, tuple[str, npt.NDArray[Any], str]]:
    """What drivers write for times after the stamp of −0.1 to 0 s: name → field, values, place of the stamp to set."""
    ns = np.round(1e9 * seconds.astype(np.float64)).astype(np.int64)
    from_start = ns + round(1e9 * _SWEEP_S)
    return {
        "Velodyne time": ("time", seconds, "auto"),
        "Ouster t": ("t", from_start.astype(np.uint32), "end"),
        "Hesai timestamp": ("timestamp", 1e-9 * stamp_ns + 1e-9 * ns, "auto"),
        "RoboSense timestamp of its own clock": ("timestamp", 1234.5 + 1e-9 * from_start, "end"),
        "Livox timestamp": ("timestamp", np.float64(stamp_ns) + ns, "auto"),
        "Livox offset_time": ("offset_time", from_start.astype(np.uint32), "end"),
        "Autoware time_stamp": ("time_stamp", from_start.astype(np.uint32), "end"),
        "Autoware time_stamp, absolute": ("time_stamp", 1e-9 * stamp_ns + 1e-9 * ns, "auto"),
        "µs after the stamp": ("time_offset", (ns // 1000).astype(np.int32), "auto"),
        "µs, absolute": ("timestamp", 1e-3 * stamp_ns + 1e-3 * ns, "auto"),
        "ms in float": ("t", 1e3 * seconds, "auto"),
    }


def check_conventions(_: Context) -> Iterator[Row]:
    """One sweep at speed as each driver would publish it: the deskewed clouds are equal.

    Times in µs are rounded to them, so that some points take the neighbouring entry of the table of motion.
    """
    drive = HurriedDrive(SEEDS[0], 3.0, skewed=True)
    sweep = drive[20].keyframe
    # Where the stamp lies at the last point, that is the last one with a return.
    sweep.points[:, -1] -= sweep.points[:, -1].max()
    moved = motion(drive.odometry(ODOMETRY_HZ), sweep)
    expected = deskewed(sweep, moved).points[:, :4]
    xyzi = {name: sweep.points[:, i] for i, name in enumerate(_COLUMNS)}
    num_equal, farthest = 0, 0.0
    written = conventions(sweep.points[:, -1], sweep.stamp_ns)
    for field, values, stamp_at in written.values():
        msg = cloud_message(xyzi | {field: values}, sweep.stamp_ns, "lidar", message_type)
        reader = PointTimeReader(PointTimeSettings(stamp_at=stamp_at))  # type: ignore[arg-type]
        timed = reader.read_points(msg, _COLUMNS, sweep.stamp_ns)
        read = dataclasses.replace(sweep, points=timed.received.points, columns=(*_COLUMNS, TIME_COLUMN))
        off_m = float(np.abs(deskewed(read, moved).points - expected).max())
        farthest, num_equal = max(farthest, off_m), num_equal + (off_m < 0.01 and not timed.problem)
    yield all_of("conventions of drivers: deskewed clouds equal within 1 cm", num_equal, len(written))
    yield report_only("  farthest point between two of them, mm", 1e3 * farthest)


def check_score(_: Context) -> Iterator[Row]:
    """The shipped model on drives three times as fast as the town's traffic; every second sweep is scored."""
    detector = Detector(open_backend(SHIPPED_MODEL, num_threads=1))
    found: dict[str, dict[str, Boxes3D]] = {"skewed": {}, "deskewed": {}, "ideal": {}}
    truth: dict[str, GroundTruth] = {}
    for seed in SEEDS[:2]:
        for way, boxes in found.items():
            drive = HurriedDrive(seed, 3.0, skewed=way != "ideal")
            odometry, pipeline = drive.odometry(ODOMETRY_HZ), HostPipeline(detector, 10**6)
            for index in range(1, len(drive)):
                sample = drive[index]
                points = guard_points(sample.keyframe.points, sample.keyframe.columns).points
                sweep = _for_the_model(dataclasses.replace(sample.keyframe, points=points), way != "ideal")
                moved = motion(odometry, sweep) if way == "deskewed" else None
                answer = pipeline.answer(sweep, moved).found
                if index % 2 and index > 2:
                    boxes[sample.token] = answer.boxes  # type: ignore[union-attr]  # of a detector
                    labels = labels_of(sample)
                    truth[sample.token] = GroundTruth(labels.boxes, labels.num_lidar_pts, labels.visibility)
    scores = {way: evaluate_detections(boxes, truth).mean_ap for way, boxes in found.items()}
    for way, score in scores.items():
        yield report_only(f"shipped model, {len(truth)} frames at up to 25 m/s: mAP {way}", score)
    yield at_least("  share of the mAP lost to skew that deskewing gives back", _regained(scores), 0.9)


def _for_the_model(sweep: Sweep, has_times: bool) -> Sweep:
    """The columns that the node's reader gives."""
    columns = (*_COLUMNS, TIME_COLUMN) if has_times else _COLUMNS
    points = np.ascontiguousarray(sweep.points[:, [sweep.columns.index(name) for name in columns]])
    return dataclasses.replace(sweep, points=points, columns=columns)


def _regained(scores: Mapping[str, float]) -> float:
    lost = scores["ideal"] - scores["skewed"]
    return (scores["deskewed"] - scores["skewed"]) / lost if lost > 0 else 1.0


def check_cost(_: Context) -> Iterator[Row]:
    """CPU time of one thread, the best of several; an Ouster-like cloud, times in ns."""
    rng = np.random.default_rng(0)
    seconds = np.linspace(-_SWEEP_S, 0, NUM_TIMED)
    columns = {name: rng.normal(0, 20, NUM_TIMED).astype(np.float32) for name in _COLUMNS}
    stamp_ns = 1_763_000_000_000_000_000
    msg = cloud_message(columns | {"t": (1e9 * seconds).astype(np.int32)}, stamp_ns, "lidar", message_type)
    drive, reader = HurriedDrive(SEEDS[0], 3.0, skewed=True), PointTimeReader()
    odometry, sample = drive.odometry(ODOMETRY_HZ), drive[20].keyframe
    timed = reader.read_points(msg, _COLUMNS, stamp_ns).received.points
    sweep = dataclasses.replace(sample, points=timed, columns=(*_COLUMNS, TIME_COLUMN))
    moved = motion(odometry, sweep)
    decode_ms = _best_ms(lambda: read_points(msg, _COLUMNS))
    cost = {
        "times, ms": _best_ms(lambda: reader.read(decode_cloud(msg), stamp_ns)),
        "table of motion, ms": _best_ms(lambda: motion(odometry, sweep)),
        "points moved, ms": _best_ms(lambda: deskewed(sweep, moved)),
    }
    yield report_only(f"{NUM_TIMED} points, one core: decoding, ms", decode_ms)
    for what, value in cost.items():
        yield report_only(f"  deskewing: {what}", value)
    yield at_most("  points moved / decoding", cost["points moved, ms"] / decode_ms, 2.0)
    yield at_most("  deskewing in all / decoding", sum(cost.values()) / decode_ms, 4.0)


def _best_ms(work: Callable[[], object], repeats: int = 15) -> float:
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        times.append(1e3 * (time.thread_time() - start))
    return min(times)
