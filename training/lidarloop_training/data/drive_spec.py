"""What a drive is called: a typed description for each kind of drive, which opens as a source of samples.

A description is plain data. It travels to other processes, lies in configurations, and is what the command line reads:
the fields of a kind are its options, so what a kind does not have cannot be asked of it. A new data set adds one class
here and its name to ``DriveName`` and ``Drive``. Readers are imported when a drive is opened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, get_args

import tyro

from lidarloop_core.errors import DatasetError
from lidarloop_training.ranges import check_ranges
from lidarloop_training.toytown.lidar_styles import LidarName
from lidarloop_training.toytown.style import TownStyle

if TYPE_CHECKING:
    from lidarloop_core.sample import SampleSource

DriveName = Literal[
    "toytown",
    "kitti-raw",
    "kitti-object",
    "kitti-tracking",
    "nuscenes-sweep",
    "nuscenes",
    "av2",
    "semantic-kitti",
    "nuscenes-lidarseg",
    "waymo",
    "once",
    "pandaset",
    "view-of-delft",
    "kept",
    "bag",
]

# Reaches back from one nuScenes keyframe to the one before, at 20 sweeps and 2 keyframes per second.
_SWEEPS_PER_NUSCENES_KEYFRAME = 11


@dataclass(frozen=True)
class DriveSpec(ABC):
    """A drive, or the drives of one folder.

    Attributes:
        name: what this kind of drive is called on the command line.
    """

    name: ClassVar[DriveName]

    @abstractmethod
    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        """The samples.

        Args:
            num_sweeps: sweeps per sample, as far as the drive has poses.
            cameras: whether samples carry images.
            lane_map: False leaves out a lane map that takes time to read.

        Raises:
            DatasetError, BagError: nothing readable is there.
        """

    def open_all_sweeps(self, *, cameras: bool = True) -> SampleSource:
        """Samples among which every sweep of the drive occurs, which is what a conversion writes.

        Raises:
            DatasetError, BagError: nothing readable is there.
        """
        return self.open(cameras=cameras)

    def one_of(self, scenes: tuple[str, ...]) -> str:
        """How to ask for one of the drives in the same folder: words for an error message."""
        return f"the folder or file of {scenes[0]}"


@dataclass(frozen=True)
class ToyTown(DriveSpec):
    """A drive of the toy town, generated from its seed.

    Attributes:
        seed: which drive; 0 or more.
        duration_s: length, seconds.
        rate_hz: clouds per second, hertz.
        point_labels: whether clouds carry the column label, what each point lies on.
        skewed: whether clouds are as measured while the vehicle moved, with the time of each point; else they are
            compensated, as data sets are.
        style: plain: shape and intensity tell the classes apart; lookalikes: the pictures alone do.
        lidar: kind of LiDAR, on the vehicle it is known from; those of nuScenes, KITTI and PandaSet are hdl32e, hdl64e
            and pandar64.
    """

    name: ClassVar[DriveName] = "toytown"

    seed: Annotated[tyro.conf.Positional[int], tyro.conf.arg(metavar="SEED")]
    duration_s: float = 20.0
    rate_hz: float = 10.0
    point_labels: bool = False
    skewed: bool = False
    style: TownStyle = "plain"
    lidar: LidarName = "hdl32e"

    def __post_init__(self) -> None:
        check_ranges(
            "toytown",
            seed=(self.seed, 0, 2**32),
            duration_s=(self.duration_s, 0.1, 3600),
            rate_hz=(self.rate_hz, 2, 100),
        )

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.toytown.drive import Clouds, ToyTownDrive

        return ToyTownDrive(
            self.seed,
            duration_s=self.duration_s,
            rate_hz=self.rate_hz,
            num_sweeps=num_sweeps,
            cameras=cameras,
            clouds=Clouds(self.point_labels, self.skewed),
            style=self.style,
            lidar=self.lidar,
        )


@dataclass(frozen=True)
class StoredDrive(DriveSpec):
    """A drive on disk.

    Attributes:
        path: its file or folder.
    """

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")]

    def existing(self) -> Path:
        """The path.

        Raises:
            DatasetError: nothing is there.
        """
        if not self.path.exists():
            raise DatasetError(f"{self.path} does not exist; expected the file or folder of a {self.name} drive")
        return self.path


@dataclass(frozen=True)
class KittiRaw(StoredDrive):
    """A KITTI raw recording: its folder, e.g. 2011_09_26_drive_0001_sync."""

    name: ClassVar[DriveName] = "kitti-raw"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.kitti.raw import KittiRawSource

        return KittiRawSource(self.existing(), cameras=cameras)


@dataclass(frozen=True)
class KittiObject(StoredDrive):
    """The KITTI object benchmark: single clouds with labels."""

    name: ClassVar[DriveName] = "kitti-object"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.kitti.object import KittiObjectSource

        return KittiObjectSource(self.existing(), cameras=cameras)


@dataclass(frozen=True)
class KittiTracking(StoredDrive):
    """The KITTI tracking benchmark: sequences with tracked boxes, images and poses.

    Attributes:
        path: the folder with ``velodyne/<sequence>``, or the one above its ``training``.
        sequence: number of the one sequence to read, such as 0003; all by default.
        poses: where ego poses come from: OXTS, or published ORB-SLAM3 trajectories, whose excess length is divided out.
    """

    name: ClassVar[DriveName] = "kitti-tracking"

    sequence: str | None = None
    poses: Literal["oxts", "orbslam3"] = "oxts"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.kitti.tracking import KittiTrackingSource

        sequences = None if self.sequence is None else [self.sequence]
        return KittiTrackingSource(
            self.existing(), sequences=sequences, num_sweeps=num_sweeps, cameras=cameras, poses=self.poses
        )

    def one_of(self, scenes: tuple[str, ...]) -> str:
        return f"--sequence {scenes[0].removeprefix('kitti-tracking-')}"


@dataclass(frozen=True)
class SemanticKitti(StoredDrive):
    """SemanticKITTI: odometry sequences with a label for each point."""

    name: ClassVar[DriveName] = "semantic-kitti"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.kitti.semantic import SemanticKittiSource

        return SemanticKittiSource(self.existing(), num_sweeps=num_sweeps, cameras=cameras)


@dataclass(frozen=True)
class NuScenesSweep(StoredDrive):
    """Single nuScenes clouds with mmdetection3d's info file."""

    name: ClassVar[DriveName] = "nuscenes-sweep"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource

        return NuScenesSweepSource(self.existing(), cameras=cameras)


@dataclass(frozen=True)
class NuScenes(StoredDrive):
    """A folder of nuScenes tables, or a folder of such folders.

    Attributes:
        path: the folder.
        scene: name of the one scene to read; all by default.
    """

    name: ClassVar[DriveName] = "nuscenes"

    scene: str | None = None

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.nuscenes.reader import open_nuscenes

        scenes = None if self.scene is None else [self.scene]
        return open_nuscenes(self.existing(), num_sweeps=num_sweeps, cameras=cameras, lane_map=lane_map, scenes=scenes)

    def open_all_sweeps(self, *, cameras: bool = True) -> SampleSource:
        return self.open(num_sweeps=_SWEEPS_PER_NUSCENES_KEYFRAME, cameras=cameras)

    def one_of(self, scenes: tuple[str, ...]) -> str:
        return f"--scene {scenes[0]}"


@dataclass(frozen=True)
class NuScenesLidarseg(NuScenes):
    """A folder of nuScenes tables with the lidarseg package, or a folder of such folders: a label for each point."""

    name: ClassVar[DriveName] = "nuscenes-lidarseg"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.nuscenes.lidarseg import open_lidarseg

        scenes = None if self.scene is None else [self.scene]
        return open_lidarseg(self.existing(), num_sweeps=num_sweeps, cameras=cameras, lane_map=lane_map, scenes=scenes)


@dataclass(frozen=True)
class Av2(StoredDrive):
    """Logs of the Argoverse 2 Sensor Dataset."""

    name: ClassVar[DriveName] = "av2"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.av2.reader import Av2Source

        return Av2Source(self.existing(), num_sweeps=num_sweeps, cameras=cameras, lane_map=lane_map)


@dataclass(frozen=True)
class Waymo(StoredDrive):
    """Segments of Waymo Open Dataset v2."""

    name: ClassVar[DriveName] = "waymo"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.waymo.reader import WaymoSource

        return WaymoSource(self.existing(), num_sweeps=num_sweeps, cameras=cameras)


@dataclass(frozen=True)
class Once(StoredDrive):
    """Sequences of the ONCE data set."""

    name: ClassVar[DriveName] = "once"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.once.reader import OnceSource

        return OnceSource(self.existing(), num_sweeps=num_sweeps, cameras=cameras)


@dataclass(frozen=True)
class PandaSet(StoredDrive):
    """Sequences of PandaSet.

    Attributes:
        path: a sequence's folder, or one that holds sequences.
        sequence: number of the one sequence to read, such as 002; all by default.
    """

    name: ClassVar[DriveName] = "pandaset"

    sequence: str | None = None

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.pandaset.reader import PandaSetSource

        sequences = None if self.sequence is None else [self.sequence]
        return PandaSetSource(self.existing(), sequences=sequences, num_sweeps=num_sweeps, cameras=cameras)

    def one_of(self, scenes: tuple[str, ...]) -> str:
        return f"--sequence {scenes[0].removeprefix('pandaset-')}"


@dataclass(frozen=True)
class ViewOfDelft(StoredDrive):
    """The View-of-Delft data set: single clouds with labels and poses."""

    name: ClassVar[DriveName] = "view-of-delft"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.view_of_delft.reader import ViewOfDelftSource

        return ViewOfDelftSource(self.existing(), cameras=cameras)


@dataclass(frozen=True)
class KeptFrames(StoredDrive):
    """Frames that the self-labelling node kept."""

    name: ClassVar[DriveName] = "kept"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_training.data.kept_frames.reader import KeptFramesSource

        return KeptFramesSource(self.existing(), cameras=cameras)


@dataclass(frozen=True)
class Bag(StoredDrive):
    """A ROS 2 bag: MCAP or sqlite3.

    Attributes:
        path: the .mcap or .db3 file, or the bag's folder.
        points_topics: topics of the clouds; several LiDARs are merged into the first one's clouds. By default
            /lidar/points or the only one there is.
        odometry_topic: topic of the odometry; by default /odom or the only one with messages, else poses are taken
            from /tf; none does without poses.
        stamps: whether messages are timed by their headers or by when they were received.
        deskew: whether the vehicle's motion during a sweep is taken out of the clouds, by the time of each point; leave
            it off where the driver did so already. Needs poses.
        point_time_field: the clouds' field with the time of each point; by default the first of t, time, timestamp,
            time_stamp, offset_time, time_offset.
        point_time_unit: unit of that field; auto finds it by the length of a sweep.
        point_time_stamp: where in the sweep the clouds' stamp lies, at its first point or its last, whatever the times
            count from; auto takes them as relative to the stamp or as absolute, whichever they are.
    """

    name: ClassVar[DriveName] = "bag"

    points_topics: tuple[str, ...] = ()
    odometry_topic: str | None = None
    stamps: Literal["header", "reception"] = "header"
    deskew: bool = False
    point_time_field: str = ""
    point_time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    point_time_stamp: Literal["auto", "start", "end"] = "auto"

    def open(self, *, num_sweeps: int = 1, cameras: bool = True, lane_map: bool = True) -> SampleSource:
        from lidarloop_core.pointcloud.point_time import PointTimeSettings
        from lidarloop_training.data.bag.reader import BagSource

        times = PointTimeSettings(self.point_time_field, self.point_time_unit, self.point_time_stamp)
        return BagSource(
            self.existing(),
            num_sweeps=num_sweeps,
            cameras=cameras,
            points_topics=self.points_topics,
            odometry_topic=self.odometry_topic,
            stamps=self.stamps,
            point_times=times if self.deskew else None,
        )


Drive = (
    ToyTown
    | KittiRaw
    | KittiObject
    | KittiTracking
    | NuScenesSweep
    | NuScenes
    | Av2
    | SemanticKitti
    | NuScenesLidarseg
    | Waymo
    | Once
    | PandaSet
    | ViewOfDelft
    | KeptFrames
    | Bag
)
"""All kinds of drives."""

KINDS: tuple[type[Drive], ...] = get_args(Drive)
