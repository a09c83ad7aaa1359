"""The labelled real drives that are scored: which frames of each, and where labels exist on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.samples import labels_of
from benchmarks.streets.label_scores import ScoredSample
from benchmarks.streets.pack import UNPACKED
from lidarloop_core.sample import Sample
from lidarloop_training.data.drive_spec import DriveSpec, KittiObject, KittiTracking, PandaSet
from lidarloop_training.toytown.lidar_styles import LidarName

TUNING = ("kitti-0001", "kitti-object-even")
"""Settings are chosen on these alone."""

REPORTED = ("kitti-0003", "kitti-object-odd", "pandaset-002")


@dataclass(frozen=True)
class RealDrive:
    """A labelled drive of the pack.

    Attributes:
        spec: how it is opened.
        front_only: whether only the front camera's view is labelled.
        parity: 0 or 1 for frames of even or odd number alone; None for all.
        lidar: its kind of LiDAR.
    """

    spec: DriveSpec
    front_only: bool
    parity: int | None = None
    lidar: LidarName = "hdl64e"

    def frames(self, every: int = 1) -> list[int]:
        """Positions of its frames, each n-th; where only an image's view is labelled, of those that have one."""
        source = self.spec.open(cameras=self.front_only)
        wanted = [i for i, key in enumerate(source.keys) if self.parity is None or int(key.token) % 2 == self.parity]
        return [i for i in wanted if not self.front_only or source[i].cameras][::every]

    def scored(self, sample: Sample) -> ScoredSample:
        """One of its samples, opened with images, with its labels in nuScenes' classes."""
        if not self.front_only:
            return ScoredSample(sample.token, labels_of(sample), None, sample.keyframe)
        return ScoredSample(sample.token, labels_of(sample), sample.cameras[0], sample.keyframe, _unlabelled(sample))


def drives() -> dict[str, RealDrive]:
    """Name → drive."""
    tracking, single = UNPACKED / "kitti_tracking", KittiObject(UNPACKED / "kitti_object")
    return {
        "kitti-0001": RealDrive(KittiTracking(tracking, sequence="0001"), True),
        "kitti-object-even": RealDrive(single, True, 0),
        "kitti-0003": RealDrive(KittiTracking(tracking, sequence="0003"), True),
        "kitti-object-odd": RealDrive(single, True, 1),
        "pandaset-002": RealDrive(PandaSet(UNPACKED / "pandaset_002"), False, lidar="pandar64"),
    }


def _unlabelled(sample: Sample) -> npt.NDArray[np.float64]:
    """(R, 4) the regions of a KITTI image that are marked as not labelled, pixels."""
    if sample.scene == "kitti-object":
        lines = (UNPACKED / "kitti_object/training/label_2" / f"{sample.token}.txt").read_text().splitlines()
        words = [line.split() for line in lines]
    else:
        sequence, frame = sample.token.split("-")
        lines = (UNPACKED / "kitti_tracking/label_02" / f"{sequence}.txt").read_text().splitlines()
        words = [line.split()[2:] for line in lines if int(line.split()[0]) == int(frame)]
    return np.array([row[4:8] for row in words if row[0] == "DontCare"], np.float64).reshape(-1, 4)
