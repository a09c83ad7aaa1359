"""Single nuScenes clouds as files, without the tables: a quick look at real data.

Two formats go by ``.bin``: a sweep as nuScenes ships it (float32 x y z intensity ring), and a cloud merged from several
sweeps as some packages ship it (float16 x y z intensity dt, dt the age in seconds). Beside a cloud may lie an info file
(``.pkl``, as mmdetection3d 1.1 makes them) with calibration, poses and labelled boxes.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import regular_file
from lidarloop_core.io.cloud_file import read_cloud
from lidarloop_core.io.images import ImageFile
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep

_MOST_INFO_BYTES = 1 << 32

SWEEP_COLUMNS = ("x", "y", "z", "intensity", "ring")
MERGED_COLUMNS = ("x", "y", "z", "intensity", "dt")

EGO_SE3_LIDAR = SE3.from_yaw(-np.pi / 2, (0.94, 0.0, 1.84))
"""Roughly nuScenes' mounting (x to the right), for clouds without an info file."""

_DRIVE = "nuscenes-sweep"
_FIRST_NS = 1_532_402_927_000_000_000
_PERIOD_NS = 500_000_000
_MAX_RANGE_M = 300.0


class NuScenesSweepSource:
    """One cloud, or all clouds of a folder in order of their names, each a sample of its own."""

    def __init__(self, path: Path, *, cameras: bool = True) -> None:
        """Lists the clouds and reads the info files.

        Args:
            path: a ``.bin`` file, or a folder of such.
            cameras: whether samples carry pictures, where an info file names them.

        Raises:
            DatasetError: there is no cloud, or an info file is none.
        """
        self.path = Path(path)
        folder = self.path if self.path.is_dir() else self.path.parent
        self._clouds = sorted(self.path.glob("*.bin")) if self.path.is_dir() else [self.path]
        if not self._clouds or not self._clouds[0].is_file():
            raise DatasetError(f"{self.path}: no cloud; expected a .bin file or a folder of .bin files")
        self._with_cameras = cameras
        self._infos: dict[str, dict[str, Any]] = {}
        for info_path in sorted(folder.glob("*.pkl")):
            self._infos |= read_infos(info_path)

    def __len__(self) -> int:
        return len(self._clouds)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        """The names of all clouds: those of the info file, or of the files.

        Raises:
            DatasetError: an info file lacks something.
        """
        return tuple(self._key(index) for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        """Reads one cloud.

        Raises:
            DatasetError: the cloud is of neither format, or its info file lacks something.
        """
        path, key, pose = self._clouds[index], self.keys[index], self.pose(index)
        points, columns = read_nuscenes_cloud(path)
        sweep = Sweep(points, columns, key.stamp_ns, pose.ego_SE3_lidar, pose.world_SE3_ego)
        with _layout_checked(path):
            images = self._infos[path.name]["images"].items() if path.name in self._infos else ()
            cameras = [_camera(path.parent, name, image, sweep) for name, image in images]
        return Sample(
            token=key.token,
            scene=key.drive,
            stamp_ns=key.stamp_ns,
            sweeps=(sweep,),
            cameras=tuple(cameras) if self._with_cameras else (),
            annotations=self.annotations(index),
        )

    def annotations(self, index: int) -> Annotations | None:
        """The boxes of the info file; None without one.

        Raises:
            DatasetError: the info file lacks something.
        """
        path = self._clouds[index]
        info = self._infos.get(path.name)
        if info is None:
            return None
        with _layout_checked(path):
            return _annotations(info["instances"], info["class_names"], info["token"])

    def pose(self, index: int) -> LidarPose:
        """From the info file; nuScenes' usual mounting without one.

        Raises:
            DatasetError: the info file lacks something.
        """
        path = self._clouds[index]
        info = self._infos.get(path.name)
        if info is None:
            return LidarPose(EGO_SE3_LIDAR, None)
        with _layout_checked(path):
            return LidarPose(SE3.from_matrix(info["lidar_points"]["lidar2ego"]), SE3.from_matrix(info["ego2global"]))

    def _key(self, index: int) -> SampleKey:
        path = self._clouds[index]
        info = self._infos.get(path.name)
        if info is None:
            return SampleKey(path.name.split(".")[0], _DRIVE, _FIRST_NS + index * _PERIOD_NS)
        with _layout_checked(path):
            return SampleKey(info["token"], _DRIVE, _nanoseconds(info["timestamp"]))


@contextmanager
def _layout_checked(path: Path) -> Iterator[None]:
    """Names the cloud whose info file lacks something."""
    try:
        yield
    except (KeyError, TypeError, IndexError) as error:
        raise DatasetError(
            f"{path}: its info file lacks {error}; expected the layout of mmdetection3d 1.1: remove or restore it"
        ) from None


def read_nuscenes_cloud(path: Path) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """The points, (N, 5) float32, and their columns. The format is the one in which the numbers are plausible.

    Raises:
        DatasetError: it is neither.
    """
    for dtype, columns in (("<f4", SWEEP_COLUMNS), ("<f2", MERGED_COLUMNS)):
        if path.stat().st_size % (5 * np.dtype(dtype).itemsize) == 0:
            points = read_cloud(path, num_columns=5, dtype=dtype)
            if _is_plausible(points):
                return points, columns
    raise DatasetError(
        f"{path}: {path.stat().st_size} bytes are neither points of five float32 nor of five float16 with coordinates "
        f"within {_MAX_RANGE_M:g} m and intensities of 0–255: the file is truncated or of another format"
    )


def _is_plausible(points: npt.NDArray[np.float32]) -> bool:
    with np.errstate(invalid="ignore"):
        near = np.abs(points[:, :3]) < _MAX_RANGE_M
        bright = (points[:, 3] >= 0) & (points[:, 3] <= 255)
    return bool(near.all() and bright.all())


class _NumpyUnpickler(pickle.Unpickler):
    """Info files are pickles from anywhere: numbers and numpy values may be in them, and nothing else is run."""

    _ALLOWED = frozenset(
        {
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),  # how numpy stores a scalar's bytes under protocol 2
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_infos(path: Path) -> dict[str, dict[str, Any]]:
    """Cloud file name → its record in an info file; each record also gets ``class_names``, by label.

    Raises:
        DatasetError: the file is no info file, or asks for anything but numpy values.
    """
    try:
        with regular_file.opened(path, _MOST_INFO_BYTES) as file:
            raw = _NumpyUnpickler(file).load()
        categories = raw["metainfo"]["categories"]
        class_names = sorted(categories, key=categories.get)
        return {
            Path(record["lidar_points"]["lidar_path"]).name: {**record, "class_names": class_names}
            for record in raw["data_list"]
        }
    except Exception as error:  # a broken pickle raises nearly anything
        raise DatasetError(
            f"{path}: no info file of mmdetection3d 1.1 ({type(error).__name__}: {error}); expected metainfo and "
            "data_list made of numbers and numpy values: remove or restore it"
        ) from None


def _camera(folder: Path, name: str, image: dict[str, Any], keyframe: Sweep) -> CameraImage:
    """One camera. Its own ego pose follows from ``lidar2cam``, in which the motion between both exposures is."""
    assert keyframe.world_SE3_ego is not None
    picture = ImageFile(folder / Path(image["img_path"]).name)
    width, height = picture.size()
    ego_SE3_camera = SE3.from_matrix(image["cam2ego"])
    lidar_SE3_camera = SE3.from_matrix(image["lidar2cam"]).inverse()
    world_SE3_camera = keyframe.world_SE3_ego @ keyframe.ego_SE3_lidar @ lidar_SE3_camera
    return CameraImage(
        name=name,
        load=picture,
        intrinsics=np.array(image["cam2img"], dtype=np.float64)[:3, :3],
        width=width,
        height=height,
        stamp_ns=_nanoseconds(image["timestamp"]),
        ego_SE3_camera=ego_SE3_camera,
        world_SE3_ego=world_SE3_camera @ ego_SE3_camera.inverse(),
    )


def _annotations(instances: list[dict[str, Any]], class_names: list[str], token: str) -> Annotations:
    """The boxes: ``bbox_3d`` is x y z length width height yaw in the LiDAR's frame, z at the centre."""
    known = [i for i in instances if i["bbox_label_3d"] >= 0 and class_names[i["bbox_label_3d"]] in NUSCENES_CLASSES]
    boxes = Boxes3D(
        np.array([[*i["bbox_3d"], *i["velocity"]] for i in known], dtype=np.float32),
        np.ones(len(known), dtype=np.float32),
        np.array([NUSCENES_CLASSES.index(class_names[i["bbox_label_3d"]]) for i in known]),
        NUSCENES_CLASSES,
    )
    return Annotations(
        boxes=boxes,
        instance_ids=tuple(f"{token}-{i}" for i in range(len(known))),
        num_lidar_pts=np.array([i["num_lidar_pts"] for i in known], dtype=np.int64),
        visibility=np.full(len(known), np.nan, dtype=np.float32),
    )


def _nanoseconds(seconds: float) -> int:
    """nuScenes' own resolution is a microsecond; float64 seconds hold no more."""
    return round(seconds * 1e6) * 1000
