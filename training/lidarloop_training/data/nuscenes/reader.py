"""nuScenes tables as samples: the official data set, and what ``write_nuscenes`` writes.

Annotations come in the ten detection classes; boxes of other categories are left out, those of categories that nuScenes
does not have with a warning. Velocities follow the devkit's
rule: the difference of the object's neighbouring annotations, unknown (NaN) where they lie more than 1.5 s apart.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError, LidarloopError, PoseError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import outside
from lidarloop_core.io.cloud_file import NUSCENES, read_format
from lidarloop_core.io.images import ImageFile
from lidarloop_core.io.outside import below
from lidarloop_core.sample import Annotations, CameraImage, LaneMap, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.nuscenes.classes import CATEGORY_TO_CLASS, NOT_OF_THE_TASK, visible_share
from lidarloop_training.data.nuscenes.lane_map import read_lane_map
from lidarloop_training.data.views.concat import ConcatSource

LIDAR = "LIDAR_TOP"
LIDAR_COLUMNS = ("x", "y", "z", "intensity", "ring")
MAX_VELOCITY_GAP_S = 1.5
_LEAST_NORM = 1e-6  # of a quaternion
_NUM_NAMED = 12

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Frame:
    """One sensor file: where it is, when and from where it was taken."""

    path: Path
    stamp_ns: int
    mounting: SE3  # ego_SE3_sensor
    pose: tuple[float, ...]  # world_SE3_ego as x y z, quaternion wxyz: an SE3 for each of many sweeps is slow to make

    @property
    def world_SE3_ego(self) -> SE3:
        return SE3.from_wxyz(self.pose[3:], self.pose[:3])


@dataclass(frozen=True)
class _Camera:
    name: str
    frame: _Frame
    intrinsics: npt.NDArray[np.float64]
    width: int
    height: int


@dataclass(frozen=True)
class _Objects:
    """Annotations of one keyframe in the world frame, float64: global coordinates are too large for float32."""

    centers: npt.NDArray[np.float64]  # (N, 3)
    dimensions: npt.NDArray[np.float64]  # (N, 3) length, width, height
    headings: npt.NDArray[np.float64]  # (N, 3) unit vectors along the boxes' x axes
    velocities: npt.NDArray[np.float64]  # (N, 3)
    labels: npt.NDArray[np.int64]
    instance_ids: tuple[str, ...]
    num_lidar_pts: npt.NDArray[np.int64]
    visibility: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Keyframe:
    token: str
    scene: str
    location: str
    lidar: tuple[_Frame, ...]  # newest first
    cameras: tuple[_Camera, ...]
    objects: _Objects


class NuScenesSource:
    """The keyframes of a nuScenes folder.

    The tables are parsed once, in the constructor; ``[i]`` reads the clouds of one keyframe. Picklable.
    """

    def __init__(
        self,
        root: Path,
        version: str | None = None,
        *,
        num_sweeps: int = 1,
        cameras: bool = True,
        lane_map: bool = True,
        scenes: Sequence[str] | None = None,
    ) -> None:
        """Parses the tables.

        Args:
            root: the folder that holds ``samples/``, ``sweeps/`` and the tables' folder.
            version: the tables' folder, e.g. ``"v1.0-trainval"``; None takes the only one there is.
            num_sweeps: LiDAR sweeps per sample, fewer at the start of a scene.
            cameras: whether samples carry pictures.
            lane_map: whether samples carry the lane map, where ``maps/expansion`` has one.
            scenes: names of the scenes to read; None for all.

        Raises:
            DatasetError: a table is missing or broken, a token leads nowhere, or a scene is unknown.
        """
        self.root = Path(root)
        self.version = version or _only_version(self.root)
        self._num_sweeps = num_sweeps
        self._with_map = lane_map
        self._maps: dict[str, LaneMap | None] = {}
        self._keyframes = _parse(self.root, self.root / self.version, num_sweeps, cameras, scenes)

    def __len__(self) -> int:
        return len(self._keyframes)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(SampleKey(key.token, key.scene, key.lidar[0].stamp_ns) for key in self._keyframes)

    def __getitem__(self, index: int) -> Sample:
        """Reads one keyframe.

        Raises:
            DatasetError: a cloud is missing or has no whole number of five-column points.
        """
        key = self._keyframes[index]
        sweeps = tuple(_read_sweep(frame) for frame in key.lidar)
        return Sample(
            token=key.token,
            scene=key.scene,
            stamp_ns=sweeps[0].stamp_ns,
            sweeps=sweeps,
            cameras=tuple(_camera_image(camera) for camera in key.cameras),
            annotations=_annotations(key.objects, LidarPose.of(sweeps[0])),
            lane_map=self._lane_map(key.location),
        )

    def annotations(self, index: int) -> Annotations:
        return _annotations(self._keyframes[index].objects, self.pose(index))

    def pose(self, index: int) -> LidarPose:
        newest = self._keyframes[index].lidar[0]
        return LidarPose(newest.mounting, newest.world_SE3_ego)

    def _lane_map(self, location: str) -> LaneMap | None:
        if not self._with_map:
            return None
        if location not in self._maps:
            path = below(self.root / "maps" / "expansion", f"{location}.json", f"{self.root / self.version}/log.json")
            self._maps[location] = read_lane_map(path) if path.is_file() else None
        return self._maps[location]


def open_nuscenes(
    path: Path,
    *,
    num_sweeps: int = 1,
    cameras: bool = True,
    lane_map: bool = True,
    scenes: Sequence[str] | None = None,
) -> NuScenesSource | ConcatSource:
    """One nuScenes folder, or a folder of such folders (one per drive, in order of their names), as one source.

    Args:
        path: the folder.
        num_sweeps: LiDAR sweeps per sample, fewer at the start of a scene.
        cameras: whether samples carry images.
        lane_map: whether samples carry the lane map, where there is one.
        scenes: names of the scenes to read, all of them in one folder; None for all.

    Raises:
        DatasetError: there is neither, or a scene is unknown.
    """
    path = Path(path)
    if _versions(path) or scenes is not None:
        return NuScenesSource(path, num_sweeps=num_sweeps, cameras=cameras, lane_map=lane_map, scenes=scenes)
    roots = sorted(folder for folder in path.glob("*/") if _versions(folder))
    if not roots:
        raise DatasetError(f"{path}: holds no nuScenes tables; expected a folder v1.0-* in it or in its sub-folders")
    return ConcatSource([NuScenesSource(r, num_sweeps=num_sweeps, cameras=cameras, lane_map=lane_map) for r in roots])


def _versions(root: Path) -> list[str]:
    return sorted(folder.parent.name for folder in root.glob("*/sample_data.json"))


def _only_version(root: Path) -> str:
    versions = _versions(root)
    if len(versions) != 1:
        raise DatasetError(
            f"{root}: holds {len(versions)} versions of nuScenes tables ({', '.join(versions) or 'none'}); "
            "expected one folder such as v1.0-mini: check the path or name the version"
        )
    return versions[0]


def _read_sweep(frame: _Frame) -> Sweep:
    return Sweep(
        points=read_format(frame.path, NUSCENES),
        columns=LIDAR_COLUMNS,
        stamp_ns=frame.stamp_ns,
        ego_SE3_lidar=frame.mounting,
        world_SE3_ego=frame.world_SE3_ego,
    )


def _camera_image(camera: _Camera) -> CameraImage:
    return CameraImage(
        name=camera.name,
        load=ImageFile(camera.frame.path),
        intrinsics=camera.intrinsics,
        width=camera.width,
        height=camera.height,
        stamp_ns=camera.frame.stamp_ns,
        ego_SE3_camera=camera.frame.mounting,
        world_SE3_ego=camera.frame.world_SE3_ego,
    )


def _annotations(objects: _Objects, pose: LidarPose) -> Annotations:
    """The objects in the LiDAR's frame."""
    assert pose.world_SE3_lidar is not None
    lidar_SE3_world = pose.world_SE3_lidar.inverse()
    headings = lidar_SE3_world.rotate(objects.headings)
    values = np.column_stack(
        [
            lidar_SE3_world.transform(objects.centers),
            objects.dimensions,
            np.arctan2(headings[:, 1], headings[:, 0]),
            lidar_SE3_world.rotate(objects.velocities)[:, :2],
        ]
    )
    boxes = Boxes3D(values.astype(np.float32), np.ones(len(values), np.float32), objects.labels, NUSCENES_CLASSES)
    return Annotations(boxes, objects.instance_ids, objects.num_lidar_pts, objects.visibility)


def _parse(root: Path, folder: Path, num_sweeps: int, cameras: bool, scenes: Sequence[str] | None) -> list[_Keyframe]:
    """The keyframes in order of scenes and time."""
    scene_records = read_table(folder, "scene")
    try:
        unknown = set(scenes or ()) - {record["name"] for record in scene_records}
        if unknown:
            raise DatasetError(
                f"{folder}: received scene names {', '.join(sorted(unknown))}; expected some of the "
                f"{len(scene_records)} there are, such as {scene_records[0]['name'] if scene_records else '(none)'}"
            )
        return _Parser(root, folder, num_sweeps, cameras).keyframes(
            [record for record in scene_records if scenes is None or record["name"] in scenes]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, LidarloopError):
            raise
        raise DatasetError(
            f"{folder}: a record lacks its part or has it of another type ({type(error).__name__}: {error}); "
            "expected complete nuScenes v1.0 tables: restore the folder"
        ) from None


def read_table(folder: Path, table: str) -> list[dict[str, Any]]:
    """The records of one table.

    Raises:
        DatasetError: the file is missing or holds no list.
    """
    path = folder / f"{table}.json"
    try:
        records = outside.read_json(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); expected the table of nuScenes v1.0") from None
    except ValueError as error:
        raise DatasetError(f"{path}: no valid JSON ({error}); restore the file") from None
    if not isinstance(records, list):
        raise DatasetError(f"{path}: received a JSON {type(records).__name__}; expected a list of records")
    return records


class _Parser:
    """The tables while they are being read; nothing of it stays in memory afterwards."""

    def __init__(self, root: Path, folder: Path, num_sweeps: int, cameras: bool) -> None:
        self._root = root
        self._folder = folder
        self._num_sweeps = num_sweeps
        self._samples = _index(folder, "sample")
        self._sample_data = _index(folder, "sample_data")
        self._poses = _index(folder, "ego_pose")
        self._locations = _column(folder, "log", "location")
        channels = _column(folder, "sensor", "channel")
        self._mountings: _ByToken[tuple[str, SE3 | None, Any]] = _ByToken(folder / "calibrated_sensor.json", ())
        for record in read_table(folder, "calibrated_sensor"):
            mounting = _mounting(record)
            self._mountings[record["token"]] = (channels[record["sensor_token"]], mounting, record["camera_intrinsic"])
        self._files: dict[str, dict[str, dict[str, Any]]] = {}
        for record in self._sample_data.values():
            channel = self._mountings[record["calibrated_sensor_token"]][0]
            if record["is_key_frame"] and (channel == LIDAR or (cameras and channel.startswith("CAM_"))):
                self._files.setdefault(record["sample_token"], {})[channel] = record
        self._annotations = _index(folder, "sample_annotation")
        self._by_sample: dict[str, list[dict[str, Any]]] = {}
        for record in self._annotations.values():
            self._by_sample.setdefault(record["sample_token"], []).append(record)
        categories = _column(folder, "category", "name")
        self._labels: _ByToken[int | None] = _ByToken(folder / "instance.json", ())
        self._foreign: dict[str, str] = {}
        for record in read_table(folder, "instance"):
            category = categories[record["category_token"]]
            name = CATEGORY_TO_CLASS.get(category)
            self._labels[record["token"]] = None if name is None else NUSCENES_CLASSES.index(name)
            if name is None and category not in NOT_OF_THE_TASK:
                self._foreign[record["token"]] = category

    def keyframes(self, scenes: list[dict[str, Any]]) -> list[_Keyframe]:
        found = []
        problems: list[str] = []
        for scene in scenes:
            location = self._locations[scene["log_token"]]
            token = scene["first_sample_token"]
            seen: set[str] = set()
            while token:
                if token in seen:
                    raise DatasetError(
                        f"{self._folder}/sample.json: samples go in a circle at {token}; restore the table"
                    )
                seen.add(token)
                try:
                    found.append(self._keyframe(token, scene["name"], location))
                except _BrokenRecordError as error:
                    problems.append(f"{token}: {error}")
                token = self._samples[token]["next"]
        if problems:
            warnings.warn(
                f"{self._folder}: {len(problems)} samples are left out, the first {problems[0]}", stacklevel=4
            )
        self._warn_of_foreign_categories()
        return found

    def _warn_of_foreign_categories(self) -> None:
        records = self._annotations.values() if self._foreign else ()
        counts = Counter(self._foreign[r["instance_token"]] for r in records if r["instance_token"] in self._foreign)
        if counts:
            listed = ", ".join(f"{name[:60]} {number}" for name, number in counts.most_common(_NUM_NAMED))
            more = f" and {len(counts) - _NUM_NAMED} more" if len(counts) > _NUM_NAMED else ""
            warnings.warn(
                f"{self._folder}: {counts.total()} boxes of categories that nuScenes does not have are left out: "
                f"{listed}{more}; for classes of your own give the drives as bags",
                stacklevel=5,
            )

    def _keyframe(self, token: str, scene: str, location: str) -> _Keyframe:
        files = self._files.get(token, {})
        lidar: list[_Frame] = []
        record = files[LIDAR] if LIDAR in files else self._missing_lidar(token)
        while len(lidar) < self._num_sweeps:
            lidar.append(self._frame(record))
            if not record["prev"]:
                break
            record = self._sample_data[record["prev"]]
        cameras = tuple(self._camera(name, record) for name, record in sorted(files.items()) if name != LIDAR)
        return _Keyframe(token, scene, location, tuple(lidar), cameras, self._objects(token))

    def _missing_lidar(self, token: str) -> dict[str, Any]:
        raise DatasetError(
            f"{self._root}: sample {token} has no {LIDAR} keyframe in sample_data.json; restore the table"
        )

    def _frame(self, record: dict[str, Any]) -> _Frame:
        pose = self._poses[record["ego_pose_token"]]
        mounting = self._mountings[record["calibrated_sensor_token"]][1]
        if mounting is None:
            raise _BrokenRecordError(f"mounting {record['calibrated_sensor_token']} is no rigid transform")
        numbers = (*pose["translation"], *pose["rotation"])
        if len(numbers) != 7 or not all(map(_is_finite, numbers)) or math.hypot(*numbers[3:]) < _LEAST_NORM:
            raise _BrokenRecordError(f"ego pose {record['ego_pose_token']} is no rigid transform")
        return _Frame(
            path=below(self._root, record["filename"], f"{self._folder}/sample_data.json"),
            stamp_ns=record["timestamp"] * 1000,
            mounting=mounting,
            pose=numbers,
        )

    def _camera(self, name: str, record: dict[str, Any]) -> _Camera:
        intrinsics = np.array(self._mountings[record["calibrated_sensor_token"]][2], dtype=np.float64)
        return _Camera(name, self._frame(record), intrinsics, record["width"], record["height"])

    def _objects(self, sample_token: str) -> _Objects:
        records = [r for r in self._by_sample.get(sample_token, []) if self._labels[r["instance_token"]] is not None]
        quaternions = np.array([r["rotation"] for r in records], dtype=np.float64).reshape(-1, 4)
        norms = np.linalg.norm(quaternions, axis=1)
        if not (np.isfinite(norms) & (norms > _LEAST_NORM)).all():
            raise _BrokenRecordError("a box has no heading: its quaternion is zero or not finite")
        w, x, y, z = quaternions.T / norms
        return _Objects(
            centers=np.array([r["translation"] for r in records], dtype=np.float64).reshape(-1, 3),
            # The tables' size is width, length, height.
            dimensions=np.array([r["size"] for r in records], dtype=np.float64).reshape(-1, 3)[:, [1, 0, 2]],
            headings=np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=1),
            velocities=np.array([self._velocity(r) for r in records], dtype=np.float64).reshape(-1, 3),
            labels=np.array([self._labels[r["instance_token"]] for r in records], dtype=np.int64),
            instance_ids=tuple(r["instance_token"] for r in records),
            num_lidar_pts=np.array([_count(r["num_lidar_pts"]) for r in records], dtype=np.int64),
            visibility=np.array([visible_share(r["visibility_token"]) for r in records], dtype=np.float32),
        )

    def _velocity(self, record: dict[str, Any]) -> tuple[float, float, float]:
        """World velocity from the annotations before and after, as the devkit's ``box_velocity`` does.

        With both neighbours the gap may be twice as long, for it spans two intervals.
        """
        first = self._annotations[record["prev"]] if record["prev"] else record
        last = self._annotations[record["next"]] if record["next"] else record
        limit_s = MAX_VELOCITY_GAP_S * (2 if record["prev"] and record["next"] else 1)
        stamps = (self._samples[r["sample_token"]]["timestamp"] for r in (first, last))
        start_us, end_us = stamps
        gap_s = (end_us - start_us) * 1e-6
        if first is last or gap_s > limit_s:
            return math.nan, math.nan, math.nan
        vx, vy, _ = ((b - a) / gap_s for a, b in zip(first["translation"], last["translation"], strict=True))
        return vx, vy, 0.0  # horizontal, as it is scored


class _BrokenRecordError(Exception):
    """A record whose numbers cannot be used; the sample that needs it is left out."""


def _mounting(record: dict[str, Any]) -> SE3 | None:
    """``ego_SE3_sensor``; None where the numbers are no rigid transform."""
    try:
        return SE3.from_wxyz(record["rotation"], record["translation"])
    except PoseError:
        return None


def _is_finite(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def _count(value: Any) -> int:
    """A number of points; -1, which is "unknown", where the table has null."""
    return -1 if value is None else int(value)


class _ByToken(dict[str, _T]):
    """Content of a table, by token; a token that it lacks is an error that names the table."""

    def __init__(self, path: Path, entries: Iterable[tuple[str, _T]]) -> None:
        super().__init__(entries)
        self._path = path

    def __missing__(self, token: str) -> _T:
        raise DatasetError(
            f"{self._path}: has no record '{token}', which another table refers to; expected complete nuScenes v1.0 "
            "tables: restore the folder"
        )


def _index(folder: Path, table: str) -> _ByToken[dict[str, Any]]:
    return _ByToken(folder / f"{table}.json", ((record["token"], record) for record in read_table(folder, table)))


def _column(folder: Path, table: str, name: str) -> _ByToken[Any]:
    return _ByToken(folder / f"{table}.json", ((record["token"], record[name]) for record in read_table(folder, table)))
