"""Tables of nuScenes joined to keyframes: files, poses and objects of each sample."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError, LidarloopError, PoseError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.outside import below
from lidarloop_training.data.nuscenes.classes import CATEGORY_TO_CLASS, NOT_OF_THE_TASK, visible_share
from lidarloop_training.data.nuscenes.records import ByToken, by_token, column_by_token, read_table

LIDAR = "LIDAR_TOP"
MAX_VELOCITY_GAP_S = 1.5
_LEAST_NORM = 1e-6  # of a quaternion
_NUM_NAMED = 12


@dataclass(frozen=True)
class Frame:
    """One sensor file: where it is, when and from where it was taken."""

    path: Path
    stamp_ns: int
    mounting: SE3  # ego_SE3_sensor
    pose: tuple[float, ...]  # world_SE3_ego as x y z, quaternion wxyz: an SE3 for each of many sweeps is slow to make

    @property
    def world_SE3_ego(self) -> SE3:
        return SE3.from_wxyz(self.pose[3:], self.pose[:3])


@dataclass(frozen=True)
class Camera:
    """A keyframe's picture, and the pinhole it was taken through: (3, 3) intrinsics, pixels."""

    name: str
    frame: Frame
    intrinsics: npt.NDArray[np.float64]
    width: int
    height: int


@dataclass(frozen=True)
class Objects:
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
class Keyframe:
    """What the tables say of one sample.

    Attributes:
        token: sample token.
        scene: name of its scene.
        location: place of the recording, which names its map.
        lidar: frames of the LiDAR, newest first.
        cameras: keyframe pictures; none where they were not asked for.
        objects: annotations in the world frame.
    """

    token: str
    scene: str
    location: str
    lidar: tuple[Frame, ...]
    cameras: tuple[Camera, ...]
    objects: Objects


def read_keyframes(
    root: Path, folder: Path, num_sweeps: int, cameras: bool, scenes: Sequence[str] | None
) -> list[Keyframe]:
    """The keyframes in order of scenes and time.

    Args:
        root: folder of the data set.
        folder: folder of its tables.
        num_sweeps: LiDAR frames of a keyframe, as far as the scene's beginning allows.
        cameras: whether pictures are wanted.
        scenes: names of scenes; None for all.

    Raises:
        DatasetError: a table is missing, incomplete or contradicts another, or a scene is unknown.
    """
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


class _Parser:
    """The tables while they are being read; nothing of it stays in memory afterwards."""

    def __init__(self, root: Path, folder: Path, num_sweeps: int, cameras: bool) -> None:
        self._root = root
        self._folder = folder
        self._num_sweeps = num_sweeps
        self._samples = by_token(folder, "sample")
        self._sample_data = by_token(folder, "sample_data")
        self._poses = by_token(folder, "ego_pose")
        self._locations = column_by_token(folder, "log", "location")
        channels = column_by_token(folder, "sensor", "channel")
        self._mountings: ByToken[tuple[str, SE3 | None, Any]] = ByToken(folder / "calibrated_sensor.json", ())
        for record in read_table(folder, "calibrated_sensor"):
            mounting = _mounting(record)
            self._mountings[record["token"]] = (channels[record["sensor_token"]], mounting, record["camera_intrinsic"])
        self._files: dict[str, dict[str, dict[str, Any]]] = {}
        for record in self._sample_data.values():
            channel = self._mountings[record["calibrated_sensor_token"]][0]
            if record["is_key_frame"] and (channel == LIDAR or (cameras and channel.startswith("CAM_"))):
                self._files.setdefault(record["sample_token"], {})[channel] = record
        self._annotations = by_token(folder, "sample_annotation")
        self._by_sample: dict[str, list[dict[str, Any]]] = {}
        for record in self._annotations.values():
            self._by_sample.setdefault(record["sample_token"], []).append(record)
        categories = column_by_token(folder, "category", "name")
        self._labels: ByToken[int | None] = ByToken(folder / "instance.json", ())
        self._foreign: dict[str, str] = {}
        for record in read_table(folder, "instance"):
            category = categories[record["category_token"]]
            name = CATEGORY_TO_CLASS.get(category)
            self._labels[record["token"]] = None if name is None else NUSCENES_CLASSES.index(name)
            if name is None and category not in NOT_OF_THE_TASK:
                self._foreign[record["token"]] = category

    def keyframes(self, scenes: list[dict[str, Any]]) -> list[Keyframe]:
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

    def _keyframe(self, token: str, scene: str, location: str) -> Keyframe:
        files = self._files.get(token, {})
        lidar: list[Frame] = []
        record = files[LIDAR] if LIDAR in files else self._missing_lidar(token)
        while len(lidar) < self._num_sweeps:
            lidar.append(self._frame(record))
            if not record["prev"]:
                break
            record = self._sample_data[record["prev"]]
        cameras = tuple(self._camera(name, record) for name, record in sorted(files.items()) if name != LIDAR)
        return Keyframe(token, scene, location, tuple(lidar), cameras, self._objects(token))

    def _missing_lidar(self, token: str) -> dict[str, Any]:
        raise DatasetError(
            f"{self._root}: sample {token} has no {LIDAR} keyframe in sample_data.json; restore the table"
        )

    def _frame(self, record: dict[str, Any]) -> Frame:
        pose = self._poses[record["ego_pose_token"]]
        mounting = self._mountings[record["calibrated_sensor_token"]][1]
        if mounting is None:
            raise _BrokenRecordError(f"mounting {record['calibrated_sensor_token']} is no rigid transform")
        numbers = (*pose["translation"], *pose["rotation"])
        if len(numbers) != 7 or not all(map(_is_finite, numbers)) or math.hypot(*numbers[3:]) < _LEAST_NORM:
            raise _BrokenRecordError(f"ego pose {record['ego_pose_token']} is no rigid transform")
        return Frame(
            path=below(self._root, record["filename"], f"{self._folder}/sample_data.json"),
            stamp_ns=record["timestamp"] * 1000,
            mounting=mounting,
            pose=numbers,
        )

    def _camera(self, name: str, record: dict[str, Any]) -> Camera:
        intrinsics = np.array(self._mountings[record["calibrated_sensor_token"]][2], dtype=np.float64)
        return Camera(name, self._frame(record), intrinsics, record["width"], record["height"])

    def _objects(self, sample_token: str) -> Objects:
        records = [r for r in self._by_sample.get(sample_token, []) if self._labels[r["instance_token"]] is not None]
        quaternions = np.array([r["rotation"] for r in records], dtype=np.float64).reshape(-1, 4)
        norms = np.linalg.norm(quaternions, axis=1)
        if not (np.isfinite(norms) & (norms > _LEAST_NORM)).all():
            raise _BrokenRecordError("a box has no heading: its quaternion is zero or not finite")
        w, x, y, z = quaternions.T / norms
        return Objects(
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
