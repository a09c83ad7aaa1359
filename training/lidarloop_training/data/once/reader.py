"""The ONCE data set (One Million Scenes) as samples: one roof LiDAR, seven cameras, two frames a second.

ONCE's LiDAR frame has x to the left, y to the back and z up, and a box's angle counts counter-clockwise from that x.
Points, boxes, poses and cameras are turned by 90° here, once: our LiDAR frame has x forward, y left, z up. The world is
the ground frame of the sequence's first frame. Reflectances of 0–1 are given as intensities of 0–255, larger ones as
255. Pictures are rectified when loaded, to the same pinhole matrix. Only every other frame is labelled; objects have no
identity over frames and no velocity.

No real file was at hand. From the official devkit's code: folders, JSON fields, order of the pose (quaternion x y z w,
then translation, relative to the first frame, zeros where unknown), boxes (x y z length width height angle at the
centre), camera matrices, and that pictures have to be undistorted (ONCE's web page says they are already; the devkit,
whose overlays fit, undistorts). From the maintainers: the LiDAR's axes (the paper's text says otherwise, its later
figure and the web page agree with them). From users alone: that reflectances lie in 0–1. Checked in the tests against
a sequence that is written apart from this reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes, wrap_angle
from lidarloop_core.geometry.rectify import distortion_coefficients, rectify
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import outside
from lidarloop_core.io.cloud_file import ONCE, read_unit_intensities
from lidarloop_core.io.images import ImageFile
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.once.classes import ONCE_CLASSES, ONCE_TO_NUSCENES

LIDAR_COLUMNS = ("x", "y", "z", "intensity")

CAMERAS = {
    "cam01": "CAM_TOP",
    "cam03": "CAM_TOP2",
    "cam05": "CAM_LEFT_BACK",
    "cam06": "CAM_LEFT_FRONT",
    "cam07": "CAM_RIGHT_FRONT",
    "cam08": "CAM_RIGHT_BACK",
    "cam09": "CAM_BACK",
}
"""Folder → name, after the devkit's tags. The two top cameras look ahead."""

LIDAR_HEIGHT_M = 1.7
"""Roughly: boxes that stand on the road have their bottoms 1.55 to 1.74 m below the LiDAR (OpenPCDet's anchors)."""

EGO_SE3_LIDAR = SE3(np.eye(3), np.array([0.0, 0.0, LIDAR_HEIGHT_M]))
"""ONCE has no frame on the ground: our ego frame lies on it below the LiDAR, x forward, y left."""

LIDAR_SE3_ONCE = SE3(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.zeros(3))
"""Ours from ONCE's LiDAR frame: forward is -y, left is x."""

_TURN_RAD = np.pi / 2


@dataclass(frozen=True)
class _Camera:
    name: str
    folder: str
    intrinsics: npt.NDArray[np.float64]
    distortion: npt.NDArray[np.float64]
    ego_SE3_camera: SE3


@dataclass(frozen=True)
class _Sequence:
    folder: Path
    cameras: tuple[_Camera, ...]


@dataclass(frozen=True)
class _Frame:
    """A frame as the JSON has it, in our frames.

    Attributes:
        sequence: name of the sequence.
        name: the frame's number, which is its time in milliseconds.
        place: how many frames of the sequence come before it.
        world_SE3_ego: ego pose; None where ONCE gives none.
        boxes: labelled boxes, LiDAR frame; None where the frame is not labelled.
    """

    sequence: str
    name: str
    place: int
    world_SE3_ego: SE3 | None
    boxes: Boxes3D | None

    @property
    def stamp_ns(self) -> int:
        return int(self.name) * 1_000_000


class OnceSource:
    """The frames of all sequences of a folder, or of one sequence.

    The JSON files are parsed in the constructor; ``[i]`` reads the clouds of one frame, and a picture is decoded when
    it is loaded. Picklable.
    """

    def __init__(
        self,
        root: Path,
        *,
        sequences: Sequence[str] | None = None,
        num_sweeps: int = 1,
        cameras: bool = True,
    ) -> None:
        """Reads the sequences' JSON files.

        Args:
            root: the folder that holds ``data/<sequence>/<sequence>.json``, or one such sequence's folder.
            sequences: names of the sequences to read; None for all.
            num_sweeps: sweeps per sample, fewer at the start of a sequence. Frames lie 0.5 s and sometimes more apart.
            cameras: whether samples carry pictures, of those cameras whose folder is there.

        Raises:
            DatasetError: no sequence, an unknown one, or a JSON file that lacks what it should hold.
        """
        self.root = Path(root)
        folders = _sequence_folders(self.root)
        unknown = set(sequences or ()) - set(folders)
        if unknown:
            raise DatasetError(
                f"{self.root}: received sequences {', '.join(sorted(unknown))}; expected some of the {len(folders)} "
                f"there are, such as {next(iter(folders))}"
            )
        self._num_sweeps = num_sweeps
        self._sequences: dict[str, _Sequence] = {}
        self._frames: list[_Frame] = []
        for name, folder in folders.items():
            if sequences is not None and name not in sequences:
                continue
            parser = _Parser(folder)
            self._sequences[name] = _Sequence(folder, parser.cameras() if cameras else ())
            self._frames += parser.frames()

    def __len__(self) -> int:
        return len(self._frames)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(SampleKey(f"{f.sequence}-{f.name}", f.sequence, f.stamp_ns) for f in self._frames)

    def __getitem__(self, index: int) -> Sample:
        """Reads one frame, and counts the points of its cloud in each box.

        Raises:
            DatasetError: a cloud or a picture is missing, or a cloud has no whole number of points.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"received index {index}; expected 0…{len(self) - 1}")
        frame = self._frames[index]
        oldest = index - min(frame.place, self._num_sweeps - 1)
        sweeps = tuple(self._sweep(self._frames[i]) for i in range(index, oldest - 1, -1))
        annotations = self.annotations(index)
        if annotations is not None:
            counts = points_in_boxes(sweeps[0].points, annotations.boxes.values).sum(axis=1)
            annotations = replace(annotations, num_lidar_pts=counts)
        return Sample(
            token=self.keys[index].token,
            scene=frame.sequence,
            stamp_ns=frame.stamp_ns,
            sweeps=sweeps,
            cameras=self._camera_images(frame),
            annotations=annotations,
        )

    def annotations(self, index: int) -> Annotations | None:
        """The boxes without their numbers of points, which ONCE does not publish; None where it is not labelled."""
        frame = self._frames[index]
        return None if frame.boxes is None else _annotations(frame.boxes, frame)

    def pose(self, index: int) -> LidarPose:
        return LidarPose(EGO_SE3_LIDAR, self._frames[index].world_SE3_ego)

    def _sweep(self, frame: _Frame) -> Sweep:
        folder = self._sequences[frame.sequence].folder / "lidar_roof"
        stored = read_unit_intensities(folder / f"{frame.name}.bin", ONCE)
        points = np.empty_like(stored)
        points[:, 0] = -stored[:, 1]
        points[:, 1] = stored[:, 0]
        points[:, 2] = stored[:, 2]
        points[:, 3] = stored[:, 3]
        return Sweep(points, LIDAR_COLUMNS, frame.stamp_ns, EGO_SE3_LIDAR, frame.world_SE3_ego)

    def _camera_images(self, frame: _Frame) -> tuple[CameraImage, ...]:
        sequence = self._sequences[frame.sequence]
        images = []
        for camera in sequence.cameras:
            picture = ImageFile(sequence.folder / camera.folder / f"{frame.name}.jpg")
            width, height = picture.size()
            images.append(
                CameraImage(
                    name=camera.name,
                    load=_Rectified(picture, camera) if camera.distortion.any() else picture,
                    intrinsics=camera.intrinsics,
                    width=width,
                    height=height,
                    stamp_ns=frame.stamp_ns,
                    ego_SE3_camera=camera.ego_SE3_camera,
                    world_SE3_ego=frame.world_SE3_ego,
                )
            )
        return tuple(images)


@dataclass(frozen=True)
class _Rectified:
    """A picture on disk; calling it reads, decodes and rectifies it."""

    picture: ImageFile
    camera: _Camera

    def __call__(self) -> npt.NDArray[np.uint8]:
        return rectify(self.picture(), self.camera.intrinsics, self.camera.distortion)


def _annotations(boxes: Boxes3D, frame: _Frame) -> Annotations:
    return Annotations(
        boxes=boxes,
        instance_ids=tuple(f"{frame.sequence}-{frame.name}-{i}" for i in range(len(boxes))),
        num_lidar_pts=np.full(len(boxes), -1),
        visibility=np.full(len(boxes), np.nan, dtype=np.float32),
    )


def _sequence_folders(root: Path) -> dict[str, Path]:
    if (root / f"{root.name}.json").is_file():
        return {root.name: root}
    base = root / "data" if (root / "data").is_dir() else root
    folders = {path.stem: path.parent for path in sorted(base.glob("*/*.json")) if path.stem == path.parent.name}
    if not folders:
        raise DatasetError(
            f"{root}: holds no data/<sequence>/<sequence>.json; expected the root of the ONCE data set or one "
            "sequence's folder"
        )
    return folders


class _Parser:
    """One sequence's JSON file while it is being read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{folder.name}.json"
        try:
            self._content: dict[str, Any] = outside.read_json(self._path)
            # The names of frames are their times: a number such as 1e308 has none.
            self._records: list[dict[str, Any]] = sorted(self._content["frames"], key=lambda r: int(str(r["frame_id"])))
        except OSError as error:
            raise DatasetError(f"{self._path}: cannot be read ({error.strerror}); restore the file") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{self._path}: is no sequence of ONCE ({type(error).__name__}: {error}); expected JSON with calib and "
                "frames, each with its frame_id in milliseconds: restore the file"
            ) from None

    def cameras(self) -> tuple[_Camera, ...]:
        return tuple(self._camera(folder) for folder in CAMERAS if (self._folder / folder).is_dir())

    def frames(self) -> list[_Frame]:
        return [self._frame(place, record) for place, record in enumerate(self._records)]

    def _camera(self, folder: str) -> _Camera:
        try:
            calibration = self._content["calib"][folder]
            lidar_SE3_camera = LIDAR_SE3_ONCE @ SE3.from_matrix(calibration["cam_to_velo"])
            intrinsics = np.array(calibration["cam_intrinsic"], dtype=np.float64)
            if intrinsics.shape != (3, 3):
                raise ValueError(f"cam_intrinsic of shape {intrinsics.shape}; expected (3, 3)")
            distortion = distortion_coefficients(calibration["distortion"], f"{self._path}, {folder}")
        except DatasetError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{self._path}: has no calibration of {folder} ({type(error).__name__}: {error}); expected "
                "cam_to_velo, cam_intrinsic and distortion: restore the file"
            ) from None
        return _Camera(CAMERAS[folder], folder, intrinsics, distortion, EGO_SE3_LIDAR @ lidar_SE3_camera)

    def _frame(self, place: int, record: dict[str, Any]) -> _Frame:
        name = str(record["frame_id"])
        try:
            boxes = _boxes(record["annos"]) if "annos" in record else None
            return _Frame(self._folder.name, name, place, _pose(record["pose"]), boxes)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{self._path}, frame {name}: {type(error).__name__}: {error}; expected pose (7 numbers) and, where "
                "labelled, annos with as many names as boxes_3d of 7 numbers: restore the file"
            ) from None


def _pose(numbers: Sequence[float]) -> SE3 | None:
    """world_SE3_ego from ``qx qy qz qw x y z``, which takes ONCE's LiDAR frame to that of the first frame."""
    if len(numbers) != 7:
        raise ValueError(f"received a pose of {len(numbers)} numbers")
    if not any(numbers[:4]):
        return None
    ego_SE3_once = EGO_SE3_LIDAR @ LIDAR_SE3_ONCE
    return ego_SE3_once @ SE3.from_xyzw(numbers[:4], numbers[4:]) @ ego_SE3_once.inverse()


def _boxes(annos: dict[str, Any]) -> Boxes3D:
    """In our LiDAR frame, from ``x y z length width height angle``."""
    names, stored = annos["names"], np.array(annos["boxes_3d"], dtype=np.float64).reshape(-1, 7)
    if len(names) != len(stored):
        raise ValueError(f"received {len(names)} names and {len(stored)} boxes")
    unknown = set(names) - set(ONCE_CLASSES)
    if unknown:
        raise ValueError(f"received class {sorted(unknown)[0]!r}; expected {', '.join(ONCE_CLASSES)}")
    values = np.full((len(stored), 9), np.nan)
    values[:, :3] = LIDAR_SE3_ONCE.transform(stored[:, :3])
    values[:, 3:6] = stored[:, 3:6]
    values[:, 6] = wrap_angle(stored[:, 6] + _TURN_RAD)
    labels = np.array([NUSCENES_CLASSES.index(ONCE_TO_NUSCENES[name]) for name in names], dtype=np.int64)
    return Boxes3D(values.astype(np.float32), np.ones(len(values), np.float32), labels, NUSCENES_CLASSES)
