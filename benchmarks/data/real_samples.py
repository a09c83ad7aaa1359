"""The readers on real samples: every cloud is read, boxes hold their points, pictures and poses fit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.checks import Context, Row, all_of, at_least, at_most, lidarloop
from benchmarks.data.readers import open_named
from benchmarks.samples import each, labels_of, world_SE3_ego
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.io.overlay import wireframes
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.data.kitti.raw import KittiRawSource
from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource


def samples_read(context: Context) -> Iterator[Row]:
    """Every cloud file of every real sample comes out as a Sample with points and, where there are some, pictures."""
    clouds = {
        "nuscenes_keyframe": ("nuscenes-sweep", "*.bin"),
        "nuscenes_10sweep": ("nuscenes-sweep", "*.bin"),
        "kitti_object_with_images": ("kitti-object", "**/velodyne/*.bin"),
        "kitti_object_labelled": ("kitti-object", "velodyne/*.bin"),
        "kitti_raw_sequence": ("kitti-raw", "velodyne_points/*.bin"),
        "av2/sensor": ("av2", "**/lidar/*.feather"),
        "av2/sensor_dataset_logs": ("av2", "**/lidar/*.feather"),
    }
    for folder, (name, pattern) in clouds.items():
        source = open_named(name, str(context.data / folder), cameras=True)
        samples = list(each(source))
        good = [s for s in samples if len(s.keyframe.points) > 1000 and all(c.load().size for c in s.cameras)]
        yield all_of(f"{folder}: clouds read as samples", len(good), len(list((context.data / folder).glob(pattern))))


def nuscenes_boxes(context: Context) -> Iterator[Row]:
    """The keyframe's boxes hold the number of points that nuScenes annotated: z, yaw and order of sizes are right."""
    sample = NuScenesSweepSource(context.data / "nuscenes_keyframe", cameras=False)[0]
    annotated = labels_of(sample).num_lidar_pts
    counted = _points_in_boxes_of(sample)
    share = float((np.abs(counted - annotated) <= 0.1 * annotated).mean())
    yield at_least(f"nuScenes: share of {len(annotated)} boxes with their annotated points ± 10 %", share, 0.97)


def kitti_boxes(context: Context) -> Iterator[Row]:
    """KITTI's boxes, turned from the camera's frame to the Velodyne's, hold points."""
    folders = ("kitti_object_labelled", "kitti_object_with_images")
    counts = np.concatenate(
        [_points_in_objects(KittiObjectSource(context.data / folder, own_classes=True)) for folder in folders]
    )
    yield at_least(f"KITTI: share of {len(counts)} boxes with points", float((counts > 0).mean()), 0.96)


def av2_boxes(context: Context) -> Iterator[Row]:
    """Argoverse's cuboids that hold points by their own count do, once poses and the ego frame are right."""
    from lidarloop_training.data.av2.reader import Av2Source

    num_filled = num_expected = 0
    for folder in ("av2/sensor", "av2/sensor_dataset_logs"):
        source = Av2Source(context.data / folder, own_classes=True)
        for sample in each(source):
            expected = labels_of(sample).num_lidar_pts > 0
            num_expected += int(expected.sum())
            num_filled += int((_points_in_boxes_of(sample)[expected] > 0).sum())
    yield all_of("Argoverse 2: cuboids with num_interior_pts > 0 that hold points", num_filled, num_expected)


def overlays(context: Context) -> Iterator[Row]:
    """Pictures of the boxes, and how well KITTI's projected boxes match the rectangles that people drew."""
    folder = context.out / "overlays"
    shutil.rmtree(folder, ignore_errors=True)
    lidarloop("view", "nuscenes-sweep", context.data / "nuscenes_keyframe", "--png", folder / "nuscenes")
    lidarloop("view", "kitti-object", context.data / "kitti_object_with_images", "--png", folder / "kitti")
    yield all_of("overlays of nuScenes and KITTI written as PNG", len(list(folder.glob("*/*.png"))), 4)
    overlaps = _overlaps_with_labels(KittiObjectSource(context.data / "kitti_object_with_images", own_classes=True))
    yield at_least("KITTI: median overlap of projected boxes and labelled rectangles", float(np.median(overlaps)), 0.75)


def kitti_through_a_bag(context: Context) -> Iterator[Row]:
    """KITTI raw → bag with KISS-ICP's poses → samples: equal points, and the library's own poses."""
    folder, bag = context.data / "kitti_raw_sequence", context.scratch / "kitti.mcap"
    lidarloop("convert", "kitti-raw", folder, bag, "--ego-motion", "kiss-icp")
    want, got = KittiRawSource(folder), BagSource(bag)
    equal = [np.array_equal(got[i].keyframe.points, want[i].keyframe.points) for i in range(len(want))]
    yield all_of("KITTI raw → bag → samples: clouds with equal points", sum(equal), len(want))
    poses = [world_SE3_ego(got[i]).translation for i in range(len(want))]
    reference = _kiss_icp_by_itself(want)
    length_m = float(np.linalg.norm(np.diff(reference, axis=0), axis=1).sum())
    off_m = float(np.linalg.norm(np.array(poses) - reference, axis=1).max())
    yield at_most(f"its poses and KISS-ICP's own: largest distance / {length_m:.1f} m of path", off_m / length_m, 0.01)


def _points_in_objects(source: SampleSource) -> npt.NDArray[np.int64]:
    return np.concatenate([_points_in_boxes_of(sample) for sample in each(source)])


def _points_in_boxes_of(sample: Sample) -> npt.NDArray[np.int64]:
    inside = points_in_boxes(sample.keyframe.points, labels_of(sample).boxes.values)
    return np.asarray(inside.sum(axis=1), np.int64)


def _overlaps_with_labels(source: KittiObjectSource) -> list[float]:
    """Intersection over union of each projected box's outline and the rectangle in its label."""
    overlaps = []
    for sample in each(source):
        lines = (source.root / "label_2" / f"{sample.token}.txt").read_text().splitlines()
        labelled = [np.array(line.split()[4:8], float) for line in lines if not line.startswith("DontCare")]
        for frame in wireframes(sample.cameras[0], sample.keyframe, labels_of(sample).boxes):
            pixels = frame.edges.reshape(-1, 2)
            outline = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
            overlaps.append(overlap_of_rectangles(outline, labelled[frame.index]))
    return overlaps


def overlap_of_rectangles(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Intersection over union of two rectangles, each (4,) left, top, right, bottom in pixels."""
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def _kiss_icp_by_itself(source: SampleSource) -> npt.NDArray[np.float64]:
    """(N, 3) ego positions from the library, called as its own pipeline calls it."""
    from kiss_icp.config import load_config
    from kiss_icp.kiss_icp import KissICP

    odometry = KissICP(load_config(None))
    positions = []
    for sample in each(source):
        keyframe = sample.keyframe
        odometry.register_frame(keyframe.points[:, :3].astype(np.float64), np.empty(0))
        ego_SE3_lidar = keyframe.ego_SE3_lidar.matrix
        positions.append((ego_SE3_lidar @ odometry.last_pose @ np.linalg.inv(ego_SE3_lidar))[:3, 3])
    return np.array(positions)
