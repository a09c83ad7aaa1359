"""Drives of the toy town as training data: made once, kept as nuScenes tables, read by the reader of real data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lidarloop_core.labelling.painting.score_model import MaskScoreModel
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.nuscenes.lidarseg import with_point_labels
from lidarloop_training.data.nuscenes.reader import NuScenesSource
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.painted import PaintedSource
from lidarloop_training.data.writing.paints import Seen, is_painted, paint_drive, paints_key
from lidarloop_training.ranges import check_ranges
from lidarloop_training.toytown.faults.rates import FaultRates
from lidarloop_training.toytown.lidar_styles import LidarName
from lidarloop_training.toytown.style import TownStyle
from lidarloop_training.workers import worker_pool

if TYPE_CHECKING:
    from lidarloop_training.toytown.drive import ToyTownDrive

RATE_HZ = 10.0


@dataclass(frozen=True)
class ToyTownDrives:
    """Which drives, and where they lie.

    Attributes:
        root: a folder per drive is made in it, unless it is there already.
        first_train_seed: seed of the first drive to learn from; the others count upwards.
        num_train_drives: number of drives to learn from.
        first_validation_seed: seed of the first drive to validate on; the others count upwards.
        num_validation_drives: number of drives to validate on.
        duration_s: length of each drive, seconds.
        keyframe_every: frames at 10 Hz from one sample to the next.
        num_processes: number of processes that make drives.
        style: style of the town.
        cameras: whether samples have pictures; such drives lie beside those without, in folders of their own.
        painted: whether points are painted with the degraded masks of what the six cameras see.
        paint_faults: how often these masks are wrong.
        lidar: kind of LiDAR.
    """

    root: Path = Path("data/toytown")
    first_train_seed: int = 1000
    num_train_drives: int = 120
    first_validation_seed: int = 2000
    num_validation_drives: int = 3
    duration_s: float = 20.0
    keyframe_every: int = 10
    num_processes: int = 2
    style: TownStyle = "plain"
    cameras: bool = False
    painted: bool = False
    paint_faults: FaultRates = field(default_factory=FaultRates)
    lidar: LidarName = "hdl32e"

    def __post_init__(self) -> None:
        check_ranges(
            "ToyTownDrives",
            first_train_seed=(self.first_train_seed, 0, 2**32),
            num_train_drives=(self.num_train_drives, 1, 10**6),
            first_validation_seed=(self.first_validation_seed, 0, 2**32),
            num_validation_drives=(self.num_validation_drives, 0, 10**6),
            duration_s=(self.duration_s, 0.1, 3600),
            keyframe_every=(self.keyframe_every, 1, 10**6),
            num_processes=(self.num_processes, 1, 1024),
        )

    @property
    def train_seeds(self) -> range:
        return range(self.first_train_seed, self.first_train_seed + self.num_train_drives)

    @property
    def validation_seeds(self) -> range:
        return range(self.first_validation_seed, self.first_validation_seed + self.num_validation_drives)

    def drive_folder(self, seed: int) -> Path:
        """The folder of one drive; its name holds what may not be mixed up."""
        style = "" if self.style == "plain" else f"-{self.style}"
        pictures = "-cameras" if self.cameras else ""
        sensor = f"-{self.lidar}" * (self.lidar != "hdl32e")
        return self.root / f"drive-{seed:05d}-{self.duration_s:g}s-every{self.keyframe_every}{style}{sensor}{pictures}"

    @property
    def paints(self) -> Path:
        """The folder of the paints; its name holds the faults of the masks."""
        return self.root / "paints" / paints_key(["toytown masks", asdict(self.paint_faults)])


def prepare(drives: ToyTownDrives, num_sweeps: int, on_drive: Callable[[int, int], None]) -> None:
    """Makes the drives that are missing; one that was interrupted is made again from its start.

    Args:
        drives: which drives, and where they lie.
        num_sweeps: sweeps of a sample, the keyframe among them: only these are made.
        on_drive: called after each drive with the number made, or painted, and the number to make.
    """
    missing = [seed for seed in (*drives.validation_seeds, *drives.train_seeds) if not _is_made(drives, seed)]
    with worker_pool(drives.num_processes) as pool:
        jobs = [pool.submit(_make, drives, seed, num_sweeps) for seed in missing]
        try:
            for number, job in enumerate(as_completed(jobs), 1):
                job.result()
                on_drive(number, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)


def _is_made(drives: ToyTownDrives, seed: int) -> bool:
    is_there = drives.drive_folder(seed).exists()
    return is_there and (not drives.painted or _is_painted(drives, seed))


def _is_painted(drives: ToyTownDrives, seed: int) -> bool:
    from lidarloop_training.toytown.drive import ToyTownDrive

    return is_painted(drives.paints, ToyTownDrive(seed, style=drives.style, lidar=drives.lidar).scene)


def _make(drives: ToyTownDrives, seed: int, num_sweeps: int) -> None:
    from lidarloop_training.toytown.drive import Clouds, ToyTownDrive

    drive = ToyTownDrive(
        seed,
        duration_s=drives.duration_s,
        rate_hz=RATE_HZ,
        cameras=drives.cameras,
        clouds=Clouds(point_labels=True),
        style=drives.style,
        lidar=drives.lidar,
    )
    folder = drives.drive_folder(seed)
    if not folder.exists():
        write_nuscenes(
            drive,
            folder,
            keyframe_every=drives.keyframe_every,
            sweeps_per_keyframe=num_sweeps - 1,
            cameras=drives.cameras,
        )
    if drives.painted:
        _paint(drives, drive, NuScenesSource(folder, num_sweeps=num_sweeps, cameras=False))


def _paint(drives: ToyTownDrives, drive: ToyTownDrive, stored: NuScenesSource) -> None:
    """Paints a stored drive by masks of the pictures that it was stored without."""
    from lidarloop_training.pseudolabel.mask_models.toytown import ToyTownMaskModel
    from lidarloop_training.toytown.mask_model import DegradedMasks

    index_at = {key.stamp_ns: index for index, key in enumerate(drive.keys)}

    def pictures_of(sample: Sample) -> Seen:
        index = index_at[sample.stamp_ns]
        return Seen(drive.token(index), drive.pictures(index))

    model = MaskScoreModel(ToyTownMaskModel(DegradedMasks(drive, drives.paint_faults)))
    paint_drive(stored, range(len(stored)), model, drives.paints, pictures_of)


def open_drives(drives: ToyTownDrives, seeds: Sequence[int], num_sweeps: int) -> SampleSource:
    """The samples of drives that ``prepare`` has made; those of an older lidarloop have no labels of points."""
    sources = [
        NuScenesSource(drives.drive_folder(seed), num_sweeps=num_sweeps, cameras=drives.cameras) for seed in seeds
    ]
    together = ConcatSource([with_point_labels(source) for source in sources])
    return PaintedSource(together, drives.paints) if drives.painted and sources else together
