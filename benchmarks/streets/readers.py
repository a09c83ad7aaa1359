"""The readers on real drives: boxes hold points, projections meet drawn rectangles, poses align clouds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.checks import Context, Row, all_of, at_least, lidarloop, report_only
from benchmarks.data.real_samples import overlap_of_rectangles
from benchmarks.samples import labels_of
from benchmarks.streets.pack import UNPACKED
from lidarloop_core.geometry.boxes import corners
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.overlay import wireframes
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.data.kitti.tracking import KittiTrackingSource, Poses
from lidarloop_training.data.pandaset.reader import EGO_SE3_LIDAR, PandaSetSource
from lidarloop_training.data.view_of_delft.classes import VIEW_OF_DELFT_TO_NUSCENES
from lidarloop_training.data.view_of_delft.reader import ViewOfDelftSource

NEAR_M = 60.0
_VOXEL_M = 0.3


def boxes_hold_points(_: Context) -> Iterator[Row]:
    """Unoccluded boxes under 60 m hold at least five points each."""
    shares = {
        "KITTI tracking 0003": _kitti_counts(_tracking("0003"), "tracking"),
        "KITTI tracking 0001": _kitti_counts(_tracking("0001"), "tracking"),
        "KITTI object": _kitti_counts(KittiObjectSource(UNPACKED / "kitti_object", own_classes=True), "object"),
        "View-of-Delft": _view_of_delft_counts(),
        "PandaSet 002": _pandaset_counts(),
    }
    for name, counts in shares.items():
        what = f"{name}: share of {len(counts)} unoccluded boxes under {NEAR_M:g} m with 5 points or more"
        yield at_least(what, float((counts >= 5).mean()), 0.97)


def projections_meet_rectangles(_: Context) -> Iterator[Row]:
    """KITTI: outlines of projected boxes and the labelled 2D boxes."""
    sources: dict[str, tuple[SampleSource, str]] = {
        "KITTI tracking 0003": (_tracking("0003"), "tracking"),
        "KITTI tracking 0001": (_tracking("0001"), "tracking"),
        "KITTI object": (KittiObjectSource(UNPACKED / "kitti_object", own_classes=True), "object"),
    }
    for name, (source, layout) in sources.items():
        overlaps = [overlap for index in range(len(source)) for overlap in _overlaps(source, index, layout)]
        what = f"{name}: median IoU of {len(overlaps)} projected boxes and labelled rectangles"
        yield at_least(what, float(np.median(overlaps)), 0.9)


def poses_align_clouds(_: Context) -> Iterator[Row]:
    """Share of a cloud's points in occupied voxels of the cloud a second before, with and without the poses."""
    source = PandaSetSource(UNPACKED / "pandaset_002", cameras=False)
    with_poses, without, num_pairs = _overlap_of_clouds(source, lowest_m=0.45 - float(EGO_SE3_LIDAR.translation[2]))
    yield report_only(f"PandaSet 002: overlap of {num_pairs} pairs of clouds a second apart, without poses", without)
    yield at_least("  with poses", with_poses, without + 0.1)
    for poses in ("oxts", "orbslam3"):
        drive = _tracking("0003", poses)
        with_poses, without, num_pairs = _overlap_of_clouds(drive, lowest_m=-1.2)
        if poses == "oxts":
            yield report_only(f"KITTI 0003: overlap of {num_pairs} pairs a second apart, without poses", without)
        yield at_least(f"  with poses of {poses}", with_poses, without + 0.1)


def overlays(context: Context) -> Iterator[Row]:
    """Sheets with the boxes in the cloud and in the images, for the eye: out/checks/streets/*.png."""
    folder = context.out / "streets"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    drives: dict[str, tuple[object, ...]] = {
        "kitti-tracking": (UNPACKED / "kitti_tracking", "--sequence", "0003", "--every", "24"),
        "kitti-object": (UNPACKED / "kitti_object", "--every", "5"),
        "pandaset": (UNPACKED / "pandaset_002", "--every", "12"),
        "view-of-delft": (UNPACKED / "view_of_delft",),
    }
    num_drawn = 0
    for kind, words in drives.items():
        lidarloop("view", kind, *words, "--png", context.scratch / kind)
        sheets = sorted((context.scratch / kind).glob("*.png"))
        for sheet in sheets:
            shutil.copyfile(sheet, folder / f"{kind}-{sheet.name}")
        num_drawn += bool(sheets)
    yield all_of(f"kinds of drives drawn with their boxes, for the eye: {folder}", num_drawn, len(drives))


def _tracking(sequence: str, poses: Poses = "oxts") -> KittiTrackingSource:
    root = UNPACKED / "kitti_tracking"
    return KittiTrackingSource(root, sequences=[sequence], poses=poses, own_classes=True)


def label_words(source: SampleSource, index: int, layout: str) -> list[list[str]]:
    """The label lines of a KITTI sample, in the order of its boxes, from the truncation on."""
    token = source.keys[index].token
    if layout == "object":
        path = UNPACKED / "kitti_object" / "training" / "label_2" / f"{token}.txt"
        lines = [line.split() for line in path.read_text().splitlines()]
        return [words[1:] for words in lines if words[0] != "DontCare"]
    sequence, frame = token.split("-")
    lines = [
        line.split() for line in (UNPACKED / "kitti_tracking" / "label_02" / f"{sequence}.txt").read_text().splitlines()
    ]
    return [words[3:] for words in lines if int(words[0]) == int(frame) and words[2] != "DontCare"]


def _kitti_counts(source: SampleSource, layout: str) -> npt.NDArray[np.int64]:
    """Points in the boxes that are neither occluded nor cut off by the image, and near."""
    counts = []
    for index in range(len(source)):
        annotations = labels_of(source[index])
        words = np.array([[float(word) for word in line[:2]] for line in label_words(source, index, layout)])
        if len(words):
            whole = (words[:, 1] == 0) & (words[:, 0] < 0.3)
            counts.append(annotations.num_lidar_pts[whole & _is_near(annotations.boxes.values)])
    return np.concatenate(counts)


def _view_of_delft_counts() -> npt.NDArray[np.int64]:
    source = ViewOfDelftSource(UNPACKED / "view_of_delft", cameras=False)
    counts = []
    for index, key in enumerate(source.keys):
        lines = (source.root / "label_2" / f"{key.token}.txt").read_text().splitlines()
        words = [line.split() for line in lines if line.split()[0].lower() in VIEW_OF_DELFT_TO_NUSCENES]
        annotations = labels_of(source[index])
        whole = np.array([int(line[2]) == 0 for line in words])
        counts.append(annotations.num_lidar_pts[whole & _is_near(annotations.boxes.values)])
    return np.concatenate(counts)


def _pandaset_counts() -> npt.NDArray[np.int64]:
    source = PandaSetSource(UNPACKED / "pandaset_002", cameras=False)
    counts = []
    for index in range(0, len(source), 4):
        sample = source[index]
        annotations = labels_of(sample)
        near = np.flatnonzero(_is_near(annotations.boxes.values))
        free = free_shares(sample.keyframe.points[:, :3], annotations.boxes.values[near])
        counts.append(annotations.num_lidar_pts[near[free >= 0.8]])
    return np.concatenate(counts)


def _is_near(values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = np.linalg.norm(values[:, :2], axis=1) < NEAR_M
    return near


def free_shares(xyz: npt.NDArray[np.float32], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(M,) share of each box's angular window, seen from the LiDAR, in front of which nothing returned an echo.

    The window is cut into a grid of 8 × 8; a cell is taken where a point in it is nearer than the box's nearest corner.

    Args:
        xyz: (N, 3) points, metres, LiDAR frame.
        values: (M, 9) box columns, LiDAR frame.
    """
    azimuths = np.arctan2(xyz[:, 1], xyz[:, 0])
    ranges = np.linalg.norm(xyz, axis=1)
    elevations = np.arcsin(xyz[:, 2] / np.maximum(ranges, 1e-3))
    shares = np.empty(len(values))
    for i, (box, vertices) in enumerate(zip(values, corners(values), strict=True)):
        middle, reach = np.arctan2(box[1], box[0]), np.linalg.norm(vertices, axis=1)
        across = np.angle(np.exp(1j * (np.arctan2(vertices[:, 1], vertices[:, 0]) - middle)))
        upright = np.arcsin(vertices[:, 2] / reach)
        low, high = np.array([across.min(), upright.min()]), np.array([across.max(), upright.max()])
        places = np.column_stack([np.angle(np.exp(1j * (azimuths - middle))), elevations])
        cells = np.floor((places - low) / (high - low) * 8)
        nearer = (ranges < reach.min()) & ((cells >= 0) & (cells < 8)).all(axis=1)
        shares[i] = 1 - len(np.unique(cells[nearer], axis=0)) / 64
    return shares


def _overlaps(source: SampleSource, index: int, layout: str) -> list[float]:
    """IoU of each projected box's outline and the rectangle in its label."""
    sample = source[index]
    if not sample.cameras:
        return []
    rectangles = [np.array(words[3:7], float) for words in label_words(source, index, layout)]
    found = []
    for frame in wireframes(sample.cameras[0], sample.keyframe, labels_of(sample).boxes):
        pixels = frame.edges.reshape(-1, 2)
        outline = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
        found.append(overlap_of_rectangles(outline, rectangles[frame.index]))
    return found


def _overlap_of_clouds(source: SampleSource, lowest_m: float) -> tuple[float, float, int]:
    """Median overlap with poses and without, of pairs a second apart, and their number; the ground is left out."""
    stamps = np.array([key.stamp_ns for key in source.keys])
    shares = []
    for index in range(0, len(source), 4):
        later = int(np.abs(stamps - stamps[index] - 10**9).argmin())
        if abs(stamps[later] - stamps[index] - 10**9) > 2 * 10**8:
            continue
        first, second = source[index], source[later]
        motion = _lidar_pose(first).inverse() @ _lidar_pose(second)
        xyz = [_above_ground(sample, lowest_m) for sample in (first, second)]
        shares.append((_share(xyz[0], motion.transform(xyz[1])), _share(xyz[0], xyz[1])))
    with_poses, without = np.median(np.array(shares), axis=0)
    return float(with_poses), float(without), len(shares)


def _lidar_pose(sample: Sample) -> SE3:
    keyframe = sample.keyframe
    assert keyframe.world_SE3_ego is not None
    return keyframe.world_SE3_ego @ keyframe.ego_SE3_lidar


def _above_ground(sample: Sample, lowest_m: float) -> npt.NDArray[np.float64]:
    xyz = sample.keyframe.points[:, :3].astype(np.float64)
    distance = np.linalg.norm(xyz[:, :2], axis=1)
    above: npt.NDArray[np.float64] = xyz[(distance > 4) & (distance < 40) & (xyz[:, 2] > lowest_m)]
    return above


def _share(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Share of the second cloud's points in voxels that the first occupies."""
    occupied, asked = (np.floor(xyz / _VOXEL_M).astype(np.int64) @ [1, 10**5, 10**10] for xyz in (first, second))
    return float(np.isin(asked, occupied).mean())
