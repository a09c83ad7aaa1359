"""A synthetic street corner with exact masks: for benchmarks and tests, where no data set is at hand.

Boxes of the ten nuScenes classes stand on a plane around a vehicle with a 32-beam LiDAR and six cameras, mounted about
as in nuScenes; the vehicle drives forwards. Clouds are made by intersecting beams with boxes, masks by filling
the outlines of their corners, nearest first.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D, corners, points_in_boxes
from lidarloop_core.geometry.camera import project
from lidarloop_core.geometry.iou import bev_iou
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import Annotations, CameraImage, Sample, Sweep

WIDTH, HEIGHT = 1600, 900
EGO_SE3_LIDAR = SE3(np.eye(3), np.array([0.94, 0.0, 1.84]))

_CAMERAS = {
    "CAM_FRONT": (1.7, 0.0, 0.0, 1266.0),
    "CAM_FRONT_RIGHT": (1.55, -0.5, -55.0, 1260.0),
    "CAM_FRONT_LEFT": (1.55, 0.5, 55.0, 1272.0),
    "CAM_BACK": (0.03, 0.0, 180.0, 809.0),
    "CAM_BACK_LEFT": (1.03, 0.48, 110.0, 1256.0),
    "CAM_BACK_RIGHT": (1.01, -0.48, -110.0, 1259.0),
}
"""Name → x, y in metres, yaw in degrees, focal length in pixels."""

_BEAMS_RAD = np.radians(np.linspace(-30.67, 10.67, 32))
_NUM_AZIMUTHS = 1084
_MAX_RANGE_M = 80.0
_SWEEP_NS = 50_000_000
_START_NS = 1_700_000_000_000_000_000


def synthetic_scene(
    num_objects: int = 240, num_sweeps: int = 3, *, speed_mps: float = 8.0, seed: int = 0
) -> tuple[Sample, dict[str, InstanceMasks]]:
    """A sample with ground truth, and the masks of its pictures, all found with score 0.9.

    Args:
        num_objects: largest number of objects; those that would overlap others are left out.
        num_sweeps: number of sweeps, 50 ms apart, newest first.
        speed_mps: the vehicle's speed along its x axis, which is the world's.
        seed: seed of the objects' places.
    """
    random = np.random.default_rng(seed)
    boxes = _boxes(num_objects, random)
    world_SE3_now = SE3(np.eye(3), np.array([0.0, 0.0, 0.0]))
    sweeps = []
    for age in range(num_sweeps):
        shift = np.array([-speed_mps * age * _SWEEP_NS * 1e-9, 0.0, 0.0])
        points = _scan(boxes.values, shift, random)
        ego = SE3(np.eye(3), world_SE3_now.translation + shift)
        sweeps.append(Sweep(points, ("x", "y", "z", "intensity"), _START_NS - age * _SWEEP_NS, EGO_SE3_LIDAR, ego))
    cameras = tuple(_camera(name, world_SE3_now) for name in _CAMERAS)
    inside = points_in_boxes(sweeps[0].points, boxes.values).sum(axis=1)
    annotations = Annotations(
        boxes, tuple(f"object-{i}" for i in range(len(boxes))), inside, np.full(len(boxes), np.nan, np.float32)
    )
    sample = Sample("synthetic-0", "synthetic", _START_NS, tuple(sweeps), cameras, annotations)
    return sample, {camera.name: _masks(camera, boxes) for camera in cameras}


def _boxes(num_objects: int, random: np.random.Generator) -> Boxes3D:
    """Boxes in the LiDAR's frame, on the ground, with the priors' sizes."""
    labels = random.integers(0, len(NUSCENES_CLASSES), num_objects)
    sizes = ShapePriors.paper().of(NUSCENES_CLASSES)[labels]
    range_m = random.uniform(6.0, 50.0, num_objects)
    angle_rad = random.uniform(-math.pi, math.pi, num_objects)
    values = np.zeros((num_objects, 9), np.float32)
    values[:, 0], values[:, 1] = range_m * np.cos(angle_rad), range_m * np.sin(angle_rad)
    values[:, 2] = sizes[:, 2] / 2 - EGO_SE3_LIDAR.translation[2]
    values[:, 3:6], values[:, 6] = sizes, random.uniform(-math.pi, math.pi, num_objects)
    roomy = values.copy()
    roomy[:, 3:5] += 1.0
    overlap = np.triu(bev_iou(roomy, roomy) > 0, k=1).any(axis=0)
    free = ~overlap & (np.hypot(values[:, 0], values[:, 1]) > 3.0 + sizes[:, 0] / 2)
    return Boxes3D(values[free], np.ones(int(free.sum()), np.float32), labels[free], NUSCENES_CLASSES)


def _scan(
    boxes: npt.NDArray[np.float32], shift: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """(N, 4) points of one sweep; ``shift`` (3,) is the LiDAR's place in the boxes' frame, metres."""
    azimuth_rad = np.linspace(math.pi, -math.pi, _NUM_AZIMUTHS, endpoint=False)[:, None]
    flat = np.cos(_BEAMS_RAD)
    up = np.broadcast_to(np.sin(_BEAMS_RAD), (_NUM_AZIMUTHS, len(_BEAMS_RAD)))
    rays = np.stack([np.cos(azimuth_rad) * flat, np.sin(azimuth_rad) * flat, up], axis=-1)
    with np.errstate(divide="ignore"):
        range_m = np.where(up < 0, -EGO_SE3_LIDAR.translation[2] / up, np.inf)
    for box in boxes.astype(np.float64):
        ahead = box[:2] - shift[:2]
        half_rad = math.asin(min(1.0, math.hypot(box[3], box[4]) / 2 / math.hypot(*ahead)))
        off_rad = azimuth_rad[:, 0] - math.atan2(ahead[1], ahead[0])
        columns = np.cos(off_rad) >= math.cos(half_rad)  # no other column can meet it
        met_m = _hits(rays[columns].reshape(-1, 3), box, shift).reshape(-1, len(_BEAMS_RAD))
        range_m[columns] = np.minimum(range_m[columns], met_m)
    seen = range_m < _MAX_RANGE_M
    range_m = range_m[seen] + random.normal(0.0, 0.02, int(seen.sum()))
    return np.column_stack([rays[seen] * range_m[:, None], random.uniform(0, 255, len(range_m))]).astype(np.float32)


def _hits(
    rays: npt.NDArray[np.float64], box: npt.NDArray[np.float64], origin: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(R,) distances at which rays (R, 3) from ``origin`` meet a box, metres; infinite if they miss."""
    rotation = SE3.from_yaw(float(box[6])).rotation
    start, directions = (origin - box[:3]) @ rotation, rays @ rotation
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (-box[3:6] / 2 - start) / directions, (box[3:6] / 2 - start) / directions
    enter = np.minimum(first, second).max(axis=1)
    leave = np.maximum(first, second).min(axis=1)
    return np.where((enter > 0) & (enter <= leave), enter, np.inf)


def _camera(name: str, world_SE3_ego: SE3) -> CameraImage:
    x, y, yaw_deg, focal_px = _CAMERAS[name]
    optical = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
    intrinsics = np.array([[focal_px, 0, WIDTH / 2], [0, focal_px, HEIGHT / 2], [0, 0, 1]], np.float64)
    pose = SE3.from_yaw(math.radians(yaw_deg), (x, y, 1.5)) @ optical
    return CameraImage(name, _black, intrinsics, WIDTH, HEIGHT, _START_NS, pose, world_SE3_ego)


def _black() -> npt.NDArray[np.uint8]:
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def _masks(camera: CameraImage, boxes: Boxes3D) -> InstanceMasks:
    """The visible part of each box of which the picture shows at least 20 pixels."""
    camera_SE3_lidar = camera.ego_SE3_camera.inverse() @ EGO_SE3_LIDAR
    centers = camera_SE3_lidar.transform(boxes.centers.astype(np.float64))
    taken = np.zeros((HEIGHT, WIDTH), np.bool_)
    masks, labels = [], []
    for i in np.argsort(np.linalg.norm(centers, axis=1)):
        outline, depth_m = project(camera_SE3_lidar.transform(corners(boxes.values[i : i + 1])[0]), camera.intrinsics)
        if depth_m.min() < 0.5:
            continue
        left, top = np.maximum(np.floor(outline.min(axis=0)), 0).astype(int)
        right, bottom = np.minimum(np.ceil(outline.max(axis=0)) + 1, (WIDTH, HEIGHT)).astype(int)
        if right <= left or bottom <= top:
            continue
        region = taken[top:bottom, left:right]
        shown = _filled(outline, left, top, region.shape) & ~region
        region |= shown
        if shown.sum() >= 20:
            tight = MaskWindow.of(shown)
            masks.append(MaskWindow(tight.left + left, tight.top + top, tight.pixels))
            labels.append(int(boxes.labels[i]))
    edges = [(m.left, m.top, m.left + m.pixels.shape[1], m.top + m.pixels.shape[0]) for m in masks]
    return InstanceMasks(
        np.array(edges, np.float32).reshape(-1, 4),
        np.full(len(masks), 0.9, np.float32),
        np.array(labels, np.int64),
        tuple(masks),
        NUSCENES_CLASSES,
        WIDTH,
        HEIGHT,
    )


def _filled(outline: npt.NDArray[np.float64], left: int, top: int, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """(h, w) bool, the pixels of a window inside the convex hull of the points."""
    u, v = np.arange(left, left + shape[1]), np.arange(top, top + shape[0])[:, None]
    inside = np.ones(shape, np.bool_)
    for a, b, c in ConvexHull(outline).equations:
        inside &= a * u + b * v + c <= 0
    return inside
