"""PandaSet as samples: the Pandar64's clouds at 10 Hz, six cameras, cuboids all around, classes of points.

Two layouts are read: the published one (``published``) and a compact one (``compact``). Points of the PandarGT, which
looks ahead, are left out. A moving object is labelled once for each LiDAR, at the time each met it: of such siblings
the Pandar64's is taken. Cuboids exist for hidden objects too: ``num_lidar_pts`` tells which of them hold points.

The LiDAR's frame lies at the Pandar64's origin, ``EGO_SE3_LIDAR``: near (0.80, 0.00, 1.85) m in the vehicle frame, the
axes parallel. Velocities follow from the tracks. Points are published in the world frame; whether ego-motion within a
sweep is compensated PandaSet does not say. Labels of points come in nuScenes-lidarseg's classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import BOX_COLUMNS, Boxes3D, points_in_boxes
from lidarloop_core.geometry.se3 import SE3, interpolate
from lidarloop_core.geometry.track_velocities import track_velocities
from lidarloop_core.io.images import ImageFile
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.nuscenes.lidarseg_classes import LABEL_NAMES
from lidarloop_training.data.pandaset.classes import PANDASET_TO_NUSCENES
from lidarloop_training.data.pandaset.compact import CompactRecording
from lidarloop_training.data.pandaset.published import PublishedRecording
from lidarloop_training.data.pandaset.recording import BOTH_SENSORS, PANDAR64, Picture, Recording

LIDAR_COLUMNS = ("x", "y", "z", "intensity")

EGO_SE3_LIDAR = SE3(np.eye(3), np.array([0.80, 0.0, 1.85]))
"""Where the Pandar64's rays meet, by a sequence's clouds; PandaSet publishes no mounting."""


class PandaSetSource:
    """The frames of one sequence or of several, each a drive. Picklable."""

    def __init__(
        self, root: Path, *, sequences: Sequence[str] | None = None, num_sweeps: int = 1, cameras: bool = True
    ) -> None:
        """Lists the frames and reads their poses.

        Args:
            root: a sequence's folder, or one that holds sequences.
            sequences: names such as ``"002"``; None for all there are.
            num_sweeps: sweeps per sample, fewer at the start of a sequence.
            cameras: whether samples carry the images.

        Raises:
            DatasetError: no sequence, or one whose poses or times are missing or damaged.
        """
        self.root = Path(root)
        found = {path.name.removeprefix("pandaset_"): path for path in _sequence_folders(self.root)}
        missing = [name for name in sequences or () if name not in found]
        if missing or not found:
            raise DatasetError(
                f"{self.root}: holds no {'sequence ' + ', '.join(missing) if missing else 'lidar/00.pkl.gz'}; expected "
                f"{'one of ' + ', '.join(found) if found else 'a PandaSet sequence, or a folder of them'}"
            )
        self._num_sweeps = num_sweeps
        self._with_cameras = cameras
        folders = [folder for name, folder in found.items() if sequences is None or name in sequences]
        self._frames = [(folder, position) for folder in folders for position in range(len(_open(folder).frames))]

    def __len__(self) -> int:
        return len(self._frames)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(_key(_open(folder), position) for folder, position in self._frames)

    def __getitem__(self, index: int) -> Sample:
        """Reads one frame and those before it, and counts the points of its cloud in each box.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        folder, position = self._frames[index]
        recording = _open(folder)
        newest_first = range(position, max(-1, position - self._num_sweeps), -1)
        sweeps = tuple(_sweep(recording, i) for i in newest_first)
        annotations = self.annotations(index)
        if annotations is not None:
            counts = points_in_boxes(sweeps[0].points, annotations.boxes.values).sum(axis=1)
            annotations = replace(annotations, num_lidar_pts=counts)
        token, drive, stamp_ns = self.keys[index]
        return Sample(
            token=token,
            scene=drive,
            stamp_ns=stamp_ns,
            sweeps=sweeps,
            cameras=_cameras(recording, position) if self._with_cameras else (),
            annotations=annotations,
            point_classes=LABEL_NAMES if recording.has_point_labels else (),
        )

    def annotations(self, index: int) -> Annotations | None:
        """The boxes without their numbers of points; None where the sequence is not labelled.

        Raises:
            DatasetError: a file of the sequence's labels is missing or damaged.
        """
        folder, position = self._frames[index]
        return _labels(folder)[position] if _open(folder).has_labels else None

    def pose(self, index: int) -> LidarPose:
        folder, position = self._frames[index]
        return LidarPose(EGO_SE3_LIDAR, _open(folder).poses[position])


def _sequence_folders(root: Path) -> list[Path]:
    return [folder for folder in (root, *sorted(root.glob("*"))) if _is_compact(folder) or _is_published(folder)]


def _is_compact(folder: Path) -> bool:
    return (folder / "frames.json").is_file() and (folder / "lidar").is_dir()


def _is_published(folder: Path) -> bool:
    return (folder / "lidar" / "poses.json").is_file()


@lru_cache(maxsize=128)
def _open(folder: Path) -> Recording:
    return CompactRecording(folder) if _is_compact(folder) else PublishedRecording(folder)


def _key(recording: Recording, position: int) -> SampleKey:
    token = f"{recording.name}-{recording.frames[position]:02d}"
    return SampleKey(token, f"pandaset-{recording.name}", recording.stamps_ns[position])


def _sweep(recording: Recording, position: int) -> Sweep:
    cloud = recording.cloud(position)
    points = cloud.points.copy()
    columns: tuple[str, ...] = LIDAR_COLUMNS
    points[:, :3] -= EGO_SE3_LIDAR.translation.astype(np.float32)
    if cloud.labels is not None:
        points, columns = np.column_stack([points, cloud.labels]).astype(np.float32), (*LIDAR_COLUMNS, "label")
    return Sweep(points, columns, recording.stamps_ns[position], EGO_SE3_LIDAR, recording.poses[position])


@lru_cache(maxsize=8)
def _labels(folder: Path) -> list[Annotations]:
    """Of all frames, for velocities take those before and after."""
    recording = _open(folder)
    cuboids = [recording.cuboids(position) for position in range(len(recording.frames))]
    frame = np.repeat(np.arange(len(cuboids)), [len(c.names) for c in cuboids])
    sensors = np.concatenate([c.sensors for c in cuboids])
    names = np.array([PANDASET_TO_NUSCENES.get(name, "") for c in cuboids for name in c.names], dtype=object)
    tracks = np.array([track for c in cuboids for track in c.tracks], dtype=object)
    values = np.full((len(frame), len(BOX_COLUMNS)), np.nan)
    values[:, :7] = np.concatenate([c.values for c in cuboids])
    rotations = np.array([pose.rotation for pose in recording.poses])[frame]
    places = np.array([pose.translation for pose in recording.poses])[frame]
    in_world = np.einsum("nij,nj->ni", rotations, values[:, :3]) + places
    velocities = track_velocities(np.array(recording.stamps_ns)[frame], tracks, in_world)
    values[:, 7:9] = np.einsum("nji,nj->ni", rotations, velocities)[:, :2]
    values[:, :3] -= EGO_SE3_LIDAR.translation
    kept = np.isin(sensors, (BOTH_SENSORS, PANDAR64)) & (names != "")
    return [
        _annotations(recording.name, values[rows], names[rows].tolist(), tracks[rows].tolist())
        for rows in (np.flatnonzero(kept & (frame == position)) for position in range(len(cuboids)))
    ]


def _annotations(sequence: str, values: npt.NDArray[np.float64], names: list[str], tracks: list[str]) -> Annotations:
    labels = np.array([NUSCENES_CLASSES.index(name) for name in names], np.int64)
    return Annotations(
        boxes=Boxes3D(values.astype(np.float32), np.ones(len(names), np.float32), labels, NUSCENES_CLASSES),
        instance_ids=tuple(f"{sequence}-{track}" for track in tracks),
        num_lidar_pts=np.full(len(names), -1),
        visibility=np.full(len(names), np.nan, dtype=np.float32),
    )


def _cameras(recording: Recording, position: int) -> tuple[CameraImage, ...]:
    return tuple(_camera(recording, picture) for picture in recording.pictures(position) if picture.path.is_file())


def _camera(recording: Recording, picture: Picture) -> CameraImage:
    """The mounting follows from the camera's pose and the ego's at the exposure, which lies between two sweeps."""
    world_SE3_ego = _pose_at(recording, picture.stamp_ns)
    image = ImageFile(picture.path)
    width, height = image.size()
    return CameraImage(
        name=picture.name,
        load=image,
        intrinsics=picture.intrinsics,
        width=width,
        height=height,
        stamp_ns=picture.stamp_ns,
        ego_SE3_camera=world_SE3_ego.inverse() @ picture.world_SE3_camera,
        world_SE3_ego=world_SE3_ego,
    )


def _pose_at(recording: Recording, stamp_ns: int) -> SE3:
    """``world_SE3_ego`` between two frames; before the first and after the last the motion beside it goes on."""
    stamps, poses = recording.stamps_ns, recording.poses
    if len(stamps) == 1:
        return poses[0]
    i = int(np.clip(np.searchsorted(np.array(stamps), stamp_ns), 1, len(stamps) - 1))
    return interpolate(poses[i - 1], poses[i], (stamp_ns - stamps[i - 1]) / (stamps[i] - stamps[i - 1]))
