"""Waymo Open Dataset v2 (Parquet components) as samples, without TensorFlow.

One sweep joins the chosen LiDARs of a frame. Its frame has the origin of the top LiDAR and the axes of the vehicle (x
forward, y left, z up), so that boxes, upright in the vehicle's frame, stay exactly so; the ego frame is Waymo's
vehicle frame. Points of the top LiDAR are compensated for motion by the component ``lidar_pose``; those of the others
are published that way. A frame's stamp is Waymo's: the start of the sweep, while pose, points and boxes refer to its
middle, some 50 ms later. Pictures are rectified when loaded; they carry the vehicle's pose at the exposure of their
middle, and rolling shutter is not compensated.

Verified against a real file: the names, types and order of ``vehicle_pose`` (from the devkit's test data). Verified
against the published schema and definitions alone, by a writer in the tests that was made apart: every other component,
range images, frames, the cameras' axes. Velocities: Waymo's maintainers say they are along the world's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.rectify import rectify
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import decode as decode_image
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.waymo.classes import BOX_TYPES, WAYMO_TO_NUSCENES
from lidarloop_training.data.waymo.component import RowReader
from lidarloop_training.data.waymo.range_image import RangeImagePoints, decode, row_inclinations
from lidarloop_training.data.waymo.segment import (
    IMAGE,
    LASERS,
    CameraRow,
    Labels,
    LaserCalibration,
    Segment,
    image_of,
    read_stamps,
    return_column,
)

LIDAR_COLUMNS = ("x", "y", "z", "intensity", "elongation", "ring", "lidar")
"""``ring`` is the row of the range image, 0 the highest beam; ``lidar`` is Waymo's number: 1 top, 2 front, 3 left, 4
right, 5 rear."""

_CLASS_OF_TYPE = {
    number: NUSCENES_CLASSES.index(WAYMO_TO_NUSCENES[name])
    for number, name in BOX_TYPES.items()
    if name in WAYMO_TO_NUSCENES
}


class WaymoSource:
    """The frames of all segments of a folder, or of one segment.

    The constructor reads frame times alone; ``[i]`` reads the range images of one frame, and a picture is read when it
    is loaded. Frames in order are cheap; jumping within a segment costs decoding what lies between (see ``RowReader``),
    so shuffle by converting first, or by segments. Picklable; not for several threads at once.
    """

    def __init__(
        self,
        root: Path,
        *,
        lidars: Sequence[str] = tuple(LASERS),
        returns: Sequence[int] = (1,),
        num_sweeps: int = 1,
        cameras: bool = True,
    ) -> None:
        """Lists the frames.

        Args:
            root: the folder that holds ``lidar/``, ``vehicle_pose/`` and so on (a split such as ``training``), or a
                file ``vehicle_pose/<segment>.parquet`` in it for that segment alone.
            lidars: which of TOP, FRONT, SIDE_LEFT, SIDE_RIGHT, REAR are read.
            returns: which returns of a pulse are read: 1, 2 or both.
            num_sweeps: sweeps per sample, fewer at the start of a segment.
            cameras: whether samples carry pictures, where there are any.

        Raises:
            ConfigError: an unknown LiDAR or return.
            DatasetError: no segments, or a broken ``vehicle_pose``.
        """
        _check(lidars, returns)
        root = Path(root)
        one = root if root.suffix == ".parquet" else None
        self.root = root if one is None else root.parent.parent
        names = [one.stem] if one else sorted(path.stem for path in (root / "vehicle_pose").glob("*.parquet"))
        if not names:
            raise DatasetError(
                f"{root}: holds no vehicle_pose/*.parquet; expected a split of Waymo Open Dataset v2, a folder with "
                "vehicle_pose, lidar, lidar_calibration and, if wanted, lidar_pose, lidar_box, camera_image, "
                "camera_calibration"
            )
        self._numbers = tuple(LASERS[name] for name in LASERS if name in lidars)
        self._returns = tuple(sorted(set(returns)))
        self._num_sweeps = num_sweeps
        self._with_cameras = cameras
        self._frames: list[tuple[str, int, int]] = []  # segment, place in it, microseconds
        for name in names:
            stamps = read_stamps(self.root / "vehicle_pose" / f"{name}.parquet")
            self._frames += [(name, place, stamp) for place, stamp in enumerate(stamps)]
        self._open: tuple[str, Segment] | None = None
        self._recent: dict[int, Sweep] = {}  # of the open segment, for samples of several sweeps

    def __len__(self) -> int:
        return len(self._frames)

    def __getstate__(self) -> dict[str, Any]:
        """Without open files: another process opens its own."""
        return {**self.__dict__, "_open": None, "_recent": {}}

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(SampleKey(f"{name}-{stamp_us}", name, stamp_us * 1000) for name, _, stamp_us in self._frames)

    def __getitem__(self, index: int) -> Sample:
        """Reads one frame.

        Raises:
            DatasetError: a component is missing or damaged, or lacks the frame.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"received index {index}; expected 0…{len(self) - 1}")
        name, place, stamp_us = self._frames[index]
        segment = self._segment(name)
        oldest = index - min(place, self._num_sweeps - 1)
        self._recent = {i: s for i, s in self._recent.items() if oldest <= i <= index}
        for i in range(oldest, index + 1):  # in order of time, as the files are
            if i not in self._recent:
                self._recent[i] = self._sweep(segment, self._frames[i][2])
        sweeps = tuple(self._recent[i] for i in range(index, oldest - 1, -1))
        if self._num_sweeps == 1:
            self._recent = {}  # each call then gives points of its own
        labels = segment.labels(stamp_us)
        return Sample(
            token=self.keys[index].token,
            scene=name,
            stamp_ns=sweeps[0].stamp_ns,
            sweeps=sweeps,
            cameras=tuple(_camera_image(row, segment.pictures) for row in segment.camera_rows(stamp_us)),
            annotations=None if labels is None else _annotations(labels, LidarPose.of(sweeps[0])),
        )

    def annotations(self, index: int) -> Annotations | None:
        name, _, stamp_us = self._frames[index]
        labels = self._segment(name).labels(stamp_us)
        return None if labels is None else _annotations(labels, self.pose(index))

    def pose(self, index: int) -> LidarPose:
        name, _, stamp_us = self._frames[index]
        segment = self._segment(name)
        return LidarPose(_ego_SE3_lidar(segment), segment.pose(stamp_us))

    def annotated_levels(self, index: int) -> npt.NDArray[np.int64]:
        """(N,) the level, 1 or 2, that labellers gave each of the sample's boxes; 0 where they gave none.

        For ``evaluation.waymo_metrics.difficulty_levels``, which adds what follows from the number of points.
        """
        name, _, stamp_us = self._frames[index]
        labels = self._segment(name).labels(stamp_us)
        return np.zeros(0, dtype=np.int64) if labels is None else labels[_known(labels)].difficulty

    def _segment(self, name: str) -> Segment:
        if self._open is None or self._open[0] != name:
            self._open = (name, Segment(self.root, name, self._returns, cameras=self._with_cameras))
            self._recent = {}
        return self._open[1]

    def _sweep(self, segment: Segment, stamp_us: int) -> Sweep:
        ego_SE3_lidar = _ego_SE3_lidar(segment)
        clouds = [self._cloud(segment, stamp_us, number, ego_SE3_lidar.translation) for number in self._numbers]
        return Sweep(
            points=np.concatenate(clouds),
            columns=LIDAR_COLUMNS,
            stamp_ns=stamp_us * 1000,
            ego_SE3_lidar=ego_SE3_lidar,
            world_SE3_ego=segment.pose(stamp_us),
        )

    def _cloud(
        self, segment: Segment, stamp_us: int, number: int, origin: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        """Points of one LiDAR, first returns before second ones."""
        calibration = segment.laser(number)
        row = segment.range_images(stamp_us, number)
        poses = segment.pixel_poses(stamp_us, number)
        parts = []
        for which in self._returns:
            image = image_of(row, return_column(which), 4, segment.lidar_path)
            if image is not None:  # a null image is a return that this LiDAR does not have
                points = _decode(image, calibration, poses, segment.pose(stamp_us), segment.lidar_path)
                parts.append(_columns(points, number, origin))
        return np.concatenate(parts) if parts else np.empty((0, len(LIDAR_COLUMNS)), np.float32)


def _ego_SE3_lidar(segment: Segment) -> SE3:
    """The origin of the top LiDAR with the vehicle's axes."""
    return SE3(np.eye(3), segment.laser(LASERS["TOP"]).vehicle_SE3_lidar.translation)


def _check(lidars: Sequence[str], returns: Sequence[int]) -> None:
    unknown = set(lidars) - set(LASERS)
    if unknown or not lidars:
        raise ConfigError(f"received LiDARs {', '.join(lidars) or '(none)'}; expected some of {', '.join(LASERS)}")
    if not returns or not set(returns) <= {1, 2}:
        raise ConfigError(f"received returns {tuple(returns)}; expected (1,), (2,) or (1, 2)")


def _decode(
    image: npt.NDArray[np.float32],
    calibration: LaserCalibration,
    poses: npt.NDArray[np.float32] | None,
    world_SE3_vehicle: SE3,
    path: Path,
) -> RangeImagePoints:
    if poses is not None and poses.shape[:2] != image.shape[:2]:
        raise DatasetError(
            f"{path}: received a range image of {image.shape[:2]} pixels and poses of {poses.shape[:2]} in lidar_pose; "
            "expected as many: restore both"
        )
    try:
        inclinations = row_inclinations(
            image.shape[0], calibration.minimum_rad, calibration.maximum_rad, calibration.values_rad
        )
    except ValueError as error:
        raise DatasetError(f"{path}: does not fit its lidar_calibration ({error}): restore both") from None
    return decode(
        image,
        inclinations,
        calibration.vehicle_SE3_lidar,
        pixel_poses=poses,
        world_SE3_vehicle=world_SE3_vehicle,
    )


def _columns(points: RangeImagePoints, number: int, origin: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    columns = np.empty((len(points.xyz), len(LIDAR_COLUMNS)), dtype=np.float32)
    columns[:, :3] = points.xyz - origin
    columns[:, 3] = points.intensity
    columns[:, 4] = points.elongation
    columns[:, 5] = points.ring
    columns[:, 6] = number
    return columns


def _known(labels: Labels) -> npt.NDArray[np.int64]:
    """Which labels have a class of ours; signs and unknown objects have none."""
    return np.flatnonzero(np.isin(labels.types, list(_CLASS_OF_TYPE)))


def _annotations(labels: Labels, pose: LidarPose) -> Annotations:
    """The boxes in the sweep's frame, whose axes are the vehicle's."""
    assert pose.world_SE3_ego is not None
    known = labels[_known(labels)]
    values = np.empty((len(known.boxes), 9))
    values[:, :7] = known.boxes
    values[:, :3] -= pose.ego_SE3_lidar.translation
    values[:, 7:] = pose.world_SE3_ego.inverse().rotate(known.speeds)[:, :2]
    boxes = Boxes3D(
        values.astype(np.float32),
        np.ones(len(values), np.float32),
        np.array([_CLASS_OF_TYPE[number] for number in known.types.tolist()], dtype=np.int64),
        NUSCENES_CLASSES,
    )
    unknown_visibility = np.full(len(values), np.nan, dtype=np.float32)
    return Annotations(boxes, tuple(known.ids.tolist()), known.num_points, unknown_visibility)


@dataclass(frozen=True)
class _Picture:
    """A picture in its component; calling it reads, decodes and rectifies it."""

    reader: RowReader
    found: CameraRow

    def __call__(self) -> npt.NDArray[np.uint8]:
        where = f"{self.reader.path}, row {self.found.row}"
        data = self.reader.row(self.found.row)[IMAGE].as_py()
        pixels = decode_image(data if isinstance(data, bytes) else b"", where)
        calibration = self.found.calibration
        if pixels.shape[:2] != (calibration.height, calibration.width):
            raise DatasetError(
                f"{where}: received a picture of {pixels.shape[1]} × {pixels.shape[0]} pixels; camera_calibration says "
                f"{calibration.width} × {calibration.height}: restore both"
            )
        return rectify(pixels, calibration.intrinsics, calibration.distortion)


def _camera_image(found: CameraRow, pictures: RowReader | None) -> CameraImage:
    assert pictures is not None
    calibration = found.calibration
    return CameraImage(
        name=calibration.name,
        load=_Picture(pictures, found),
        intrinsics=calibration.intrinsics,
        width=calibration.width,
        height=calibration.height,
        stamp_ns=found.stamp_ns,
        ego_SE3_camera=calibration.vehicle_SE3_camera,
        world_SE3_ego=found.world_SE3_vehicle,
    )
