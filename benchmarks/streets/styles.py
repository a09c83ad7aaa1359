"""How near the toy town's clouds come to real ones: with its own LiDAR, and with the one that the real drive has.

Three measures: points on cars by range, intensities, and how well a small classifier tells patches of toy clouds from
patches of real ones (0.5: not at all). Toy drives are made anew; nothing is tuned on the drives that are reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.checks import Context, Row, report_only
from benchmarks.samples import labels_of
from benchmarks.streets.domain import patch_features, separability
from benchmarks.streets.pack import UNPACKED
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.kitti.tracking import KittiTrackingSource
from lidarloop_training.data.pandaset.reader import PandaSetSource
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.lidar_styles import LidarName

RANGES_M = ((5.0, 15.0), (15.0, 30.0), (30.0, 50.0))
_SEEDS = range(3000, 3006)
_TIMES_S = (2.0, 9.0, 16.0)
_NUM_REAL = 18


@dataclass(frozen=True)
class RealDrive:
    """A real drive and the toy town's LiDAR of its kind.

    Attributes:
        name: name of the drive, for the rows.
        source: its samples.
        lidar: kind of its LiDAR.
    """

    name: str
    source: SampleSource
    lidar: LidarName


def real_drives() -> list[RealDrive]:
    tracking = UNPACKED / "kitti_tracking"
    return [
        RealDrive("KITTI 0001", KittiTrackingSource(tracking, sequences=["0001"], cameras=False), "hdl64e"),
        RealDrive("KITTI 0003", KittiTrackingSource(tracking, sequences=["0003"], cameras=False), "hdl64e"),
        RealDrive("PandaSet 002", PandaSetSource(UNPACKED / "pandaset_002", cameras=False), "pandar64"),
    ]


def toy_and_real(_: Context) -> Iterator[Row]:
    """Each real drive beside the town seen by its own LiDAR and by the drive's."""
    drives = real_drives()
    toys = {name: _toy_samples(name) for name in ("hdl32e", *dict.fromkeys(drive.lidar for drive in drives))}
    for drive in drives:
        chosen = np.unique(np.linspace(0, len(drive.source) - 1, _NUM_REAL).round().astype(int))
        real = [drive.source[int(index)] for index in chosen]
        yield from _figures(drive.name, real)
        for lidar in ("hdl32e", drive.lidar):
            yield from _figures(f"  the town with {lidar}", toys[lidar])
            features = [patch_features(samples) for samples in (toys[lidar], real)]
            for what, accuracy in separability(*features).items():
                yield report_only(f"  {drive.name} told from the town with {lidar}: accuracy by {what}", accuracy)


def _toy_samples(lidar: LidarName) -> list[Sample]:
    drives = [ToyTownDrive(seed, cameras=False, lidar=lidar) for seed in _SEEDS]
    return [drive[round(time_s * drive.rate_hz)] for drive in drives for time_s in _TIMES_S]


def _figures(name: str, samples: list[Sample]) -> Iterator[Row]:
    for low, high in RANGES_M:
        counts = np.concatenate([_points_on_cars(sample, low, high) for sample in samples])
        what = f"{name}: median points on a car that has some, {low:g}–{high:g} m"
        yield report_only(what, float(np.median(counts)) if len(counts) else np.nan)
    intensities = np.concatenate([_intensities(sample) for sample in samples])
    for share in (0.1, 0.5, 0.9):
        yield report_only(f"{name}: intensity, {share:.0%} of points below", float(np.quantile(intensities, share)))


def _points_on_cars(sample: Sample, low_m: float, high_m: float) -> npt.NDArray[np.int64]:
    """Points in each car's box within a range, of cars that have any."""
    annotations = labels_of(sample)
    distance = np.linalg.norm(annotations.boxes.centers[:, :2], axis=1)
    is_car = np.array([name == "car" for name in annotations.boxes.names], bool)
    chosen = is_car & (distance >= low_m) & (distance < high_m) & (annotations.num_lidar_pts > 0)
    counts: npt.NDArray[np.int64] = annotations.num_lidar_pts[chosen]
    return counts


def _intensities(sample: Sample) -> npt.NDArray[np.float32]:
    return sample.keyframe.points[:, sample.keyframe.columns.index("intensity")]
