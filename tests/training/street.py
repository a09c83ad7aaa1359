"""A small drive made by hand: every number of it is known, and nothing of the toy town is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import Annotations, CameraImage, LaneMap, Sample, Sweep
from tests.training.sources import MadeSource

EPOCH_NS = 1_700_000_000_000_000_000
EGO_SE3_LIDAR = SE3.from_yaw(-1.5, (0.9, 0.1, 1.84))
EGO_SE3_CAMERA = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.7, 0.0, 1.5]))
INTRINSICS = np.array([[60.0, 0.0, 48.0], [0.0, 60.0, 32.0], [0.0, 0.0, 1.0]])

# id: class, size (length, width, height), start (x, y, z) in the world, world velocity, yaw
OBJECTS = {
    "walker": ("pedestrian", (0.6, 0.7, 1.7), (12.0, 4.0, 0.9), (0.3, -1.2), -1.3),
    "driver": ("car", (4.5, 1.9, 1.6), (5.0, -3.0, 0.8), (8.0, 1.0), 0.12),
    "sleeper": ("car", (4.2, 1.8, 1.5), (20.0, 6.0, 0.75), (0.0, 0.0), 3.1),
    "cone": ("traffic_cone", (0.4, 0.4, 0.9), (15.0, -5.0, 0.45), (0.0, 0.0), 0.0),
    "rider": ("bicycle", (1.8, 0.6, 1.8), (-9.0, 2.0, 0.9), (3.0, 0.0), 0.02),
}


@dataclass(frozen=True)
class StreetSource(MadeSource):
    """A car on a slope and in a curve among five objects, at 10 Hz; frame by frame from its index alone."""

    scene: str = "street-0001"
    num_frames: int = 13
    labelled: bool = True
    has_motion: bool = True

    def __len__(self) -> int:
        return self.num_frames

    def world_SE3_ego(self, seconds: float) -> SE3:
        rotation = Rotation.from_euler("zyx", [0.3 + 0.2 * seconds, 0.03, 0.01]).as_matrix()
        return SE3(rotation, np.array([100.0 + 7.0 * seconds, -50.0, 0.2 * seconds]))

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.num_frames:
            raise IndexError(index)
        stamp_ns, seconds = EPOCH_NS + index * 100_000_000, index * 0.1
        pose = self.world_SE3_ego(seconds)
        annotations = self._annotations_at(seconds, pose @ EGO_SE3_LIDAR) if self.labelled else None
        points = self._points(index, annotations)
        seen = pose if self.has_motion else None
        return Sample(
            token=f"{self.scene}-{index:04d}",
            scene=self.scene,
            stamp_ns=stamp_ns,
            sweeps=(Sweep(points, ("x", "y", "z", "intensity", "ring"), stamp_ns, EGO_SE3_LIDAR, seen),),
            cameras=(
                CameraImage(
                    "CAM_FRONT", lambda: self.pixels(index), INTRINSICS, 96, 64, stamp_ns, EGO_SE3_CAMERA, seen
                ),
            ),
            annotations=annotations,
            lane_map=LaneMap(
                (
                    np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [20.0, 3.0, 0.0]]),
                    np.array([[20.0, 3.0, 0], [30, 9, 0]]),
                ),
                ("ego", "next"),
                (np.array([[-5.0, -5.0], [40.0, -5.0], [40.0, 15.0], [-5.0, 15.0]]),),
            ),
        )

    def pixels(self, index: int) -> np.ndarray:
        ramp = np.add.outer(np.arange(64), np.arange(96)) + index
        return np.stack([ramp % 256, (2 * ramp) % 256, np.full_like(ramp, 90)], axis=2).astype(np.uint8)

    def _points(self, index: int, annotations: Annotations | None) -> np.ndarray:
        random = np.random.default_rng(index)
        points = np.empty((400, 5), np.float32)
        points[:, :3] = random.normal(0, 15, (400, 3))
        points[:, 2] *= 0.1
        points[:, 3] = random.integers(0, 256, 400)
        points[:, 4] = random.integers(0, 32, 400)
        if annotations is not None:
            points[: len(annotations.boxes), :3] = annotations.boxes.centers
        return points

    def _annotations_at(self, seconds: float, world_SE3_lidar: SE3) -> Annotations:
        values, labels = [], []
        for name, size, start, velocity, yaw in OBJECTS.values():
            center = np.add(start, (100 + velocity[0] * seconds, -50 + velocity[1] * seconds, 0.0))
            values.append([*center, *size, yaw, *velocity])
            labels.append(NUSCENES_CLASSES.index(name))
        world = Boxes3D(np.array(values), np.ones(len(values)), np.array(labels), NUSCENES_CLASSES)
        counts = np.arange(1, len(values) + 1, dtype=np.int64)
        visibility = np.linspace(0.1, 1.0, len(values)).astype(np.float32)
        return Annotations(world.transformed(world_SE3_lidar.inverse()), tuple(OBJECTS), counts, visibility)
