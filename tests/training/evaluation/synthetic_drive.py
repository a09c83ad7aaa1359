"""A small synthetic drive with detections of known quality."""

from __future__ import annotations

import dataclasses

import numpy as np

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import Annotations, CameraImage, Sample, Sweep
from tests.training.sources import MemorySource

EGO_SE3_LIDAR = SE3.from_yaw(0.3, (0.9, 0.1, 1.84))
SIZES = np.array([[4.5, 1.9, 1.6], [8, 2.5, 3.2], [11, 2.9, 3.4], [10, 2.8, 3.5], [6, 2.7, 3], [0.7, 0.7, 1.75]])


def make_drive(
    num_frames: int = 12,
    *,
    labelled: bool = True,
    ego_motion: bool = True,
    cameras: bool = False,
    scene: str = "synthetic-0001",
) -> MemorySource:
    rng = np.random.default_rng(0)
    count = 40
    world = np.column_stack(
        [
            rng.uniform(-40, 90, count) + 400,  # far from the world's origin, as in real maps
            rng.uniform(-30, 30, count) - 300,
            np.full(count, 0.9),
            np.zeros((count, 3)),
            rng.uniform(-np.pi, np.pi, count),
            rng.normal(0, 3, (count, 2)),
        ]
    )
    labels = rng.choice([0, 0, 0, 1, 5, 5], count)
    world[:, 3:6] = SIZES[labels] * rng.uniform(0.9, 1.1, (count, 3))
    objects = Boxes3D(world, np.ones(count), labels, NUSCENES_CLASSES)
    samples = [_sample(i, objects, rng, labelled, ego_motion, scene) for i in range(num_frames)]
    if cameras:
        samples = [dataclasses.replace(sample, cameras=_cameras(sample)) for sample in samples]
    return MemorySource(tuple(samples))


def _cameras(sample: Sample) -> tuple[CameraImage, ...]:
    """One ahead and one behind, half a metre above the roof, whose pictures show only a sky and a ground."""
    ahead = SE3(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([1.0, 0.0, 2.0]))
    picture = np.repeat(np.where(np.arange(450) < 225, 200, 90).astype(np.uint8)[:, None, None], 800, axis=1)
    intrinsics = np.array([[500.0, 0, 400], [0, 500, 225], [0, 0, 1]])
    return tuple(
        CameraImage(
            name,
            lambda: np.repeat(picture, 3, axis=2),
            intrinsics,
            800,
            450,
            sample.stamp_ns,
            SE3.from_yaw(yaw_rad) @ ahead,
            sample.keyframe.world_SE3_ego,
        )
        for name, yaw_rad in (("CAM_FRONT", 0.0), ("CAM_BACK", np.pi))
    )


def _sample(i: int, objects: Boxes3D, rng: np.random.Generator, labelled: bool, ego_motion: bool, scene: str) -> Sample:
    world_SE3_ego = SE3.from_yaw(0.05 * i, (400 + 4.0 * i, -300 + 0.5 * i, 0.2))
    boxes = objects.transformed((world_SE3_ego @ EGO_SE3_LIDAR).inverse())
    angle, radius = rng.uniform(-np.pi, np.pi, 12000), 3 + 50 * rng.random(12000) ** 2
    ground = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.full(12000, -1.8)])
    density = np.clip(2000 / np.maximum(np.hypot(*boxes.centers[:, :2].T), 3) ** 1.5, 1, 300).astype(int)
    spread = [
        box[:3] + (rng.uniform(-0.5, 0.5, (n, 3)) * box[3:6]) @ SE3.from_yaw(float(box[6])).rotation.T
        for box, n in zip(boxes.values.astype(float), density, strict=True)
    ]
    points = np.concatenate([ground, *spread])
    points = np.column_stack([points, np.full(len(points), 40.0)]).astype(np.float32)
    stamp_ns = 1_700_000_000_000_000_000 + i * 100_000_000
    return Sample(
        token=str(stamp_ns),
        scene=scene,
        stamp_ns=stamp_ns,
        sweeps=(
            Sweep(points, ("x", "y", "z", "intensity"), stamp_ns, EGO_SE3_LIDAR, world_SE3_ego if ego_motion else None),
        ),
        annotations=Annotations(
            boxes,
            tuple(map(str, range(len(boxes)))),
            points_in_boxes(points, boxes.values).sum(axis=1),
            rng.random(len(boxes)).astype(np.float32),
        )
        if labelled
        else None,
    )


def detect(source: MemorySource, frame: str, noise_m: float = 0.3, seed: int = 0) -> dict[str, Boxes3D]:
    """What a fair detector would answer, in the frame of reference of a results file."""
    rng = np.random.default_rng(seed)
    results = {}
    for sample in source.samples:
        assert sample.annotations is not None
        boxes = sample.annotations.boxes
        kept = rng.random(len(boxes)) < (0.9 if noise_m else 1.0)
        values = boxes.values[kept].copy()
        values[:, :2] += rng.normal(0, 1, (len(values), 2)) * noise_m
        inventions = int(rng.integers(0, 8)) if noise_m else 0
        ghosts = np.zeros((inventions, 9), np.float32)
        ghosts[:, :2] = rng.uniform(-40, 40, (inventions, 2))
        ghosts[:, 3:6] = SIZES[0]
        found = Boxes3D(
            np.concatenate([values, ghosts]),
            np.concatenate([rng.uniform(0.3, 1, len(values)), rng.uniform(0.1, 0.6, inventions)]),
            np.concatenate([boxes.labels[kept], np.zeros(inventions, int)]),
            NUSCENES_CLASSES,
        )
        keyframe = sample.keyframe
        if frame == "world":
            assert keyframe.world_SE3_ego is not None
            found = found.transformed(keyframe.world_SE3_ego @ keyframe.ego_SE3_lidar)
        results[sample.token] = found
    return results
