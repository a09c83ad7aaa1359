"""nuScenes tables as samples: the official data set, and what ``write_nuscenes`` writes.

Annotations come in the ten detection classes; boxes of other categories are left out, those of categories that nuScenes
does not have with a warning. Velocities follow the devkit's rule: the difference of the object's neighbouring
annotations, unknown (NaN) where they lie more than 1.5 s apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.cloud_file import NUSCENES, read_format
from lidarloop_core.io.images import ImageFile
from lidarloop_core.io.outside import below
from lidarloop_core.sample import Annotations, CameraImage, LaneMap, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.nuscenes.keyframes import Camera, Frame, Objects, read_keyframes
from lidarloop_training.data.nuscenes.lane_map import read_lane_map
from lidarloop_training.data.views.concat import ConcatSource

LIDAR_COLUMNS = ("x", "y", "z", "intensity", "ring")


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
        self._keyframes = read_keyframes(self.root, self.root / self.version, num_sweeps, cameras, scenes)

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


def _read_sweep(frame: Frame) -> Sweep:
    return Sweep(
        points=read_format(frame.path, NUSCENES),
        columns=LIDAR_COLUMNS,
        stamp_ns=frame.stamp_ns,
        ego_SE3_lidar=frame.mounting,
        world_SE3_ego=frame.world_SE3_ego,
    )


def _camera_image(camera: Camera) -> CameraImage:
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


def _annotations(objects: Objects, pose: LidarPose) -> Annotations:
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
