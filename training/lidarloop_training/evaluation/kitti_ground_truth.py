"""What KITTI's metric needs beyond a ``Sample``: height in the image, occlusion and truncation, from the label files.

Overlaps are taken in the rectified reference camera's frame, as the benchmark's program does; its axes are renamed to
ours (x forward, y left, z up), which keeps boxes upright without turning anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import regular_file
from lidarloop_core.io.images import ImageFile
from lidarloop_core.io.overlay import wireframes
from lidarloop_core.sample import CameraImage, Sweep
from lidarloop_training.data.kitti.calibration import CAMERA, KittiCalibration, picture_of, read_object_calibration
from lidarloop_training.data.kitti.classes import KITTI_CLASSES, KITTI_TO_NUSCENES
from lidarloop_training.evaluation.metrics.kitti import KittiSample
from lidarloop_training.evaluation.samples import SampleRecord

_MOST_BYTES = 1 << 24

KITTI_NAME: Mapping[str, str] = {"car": "Car", "pedestrian": "Pedestrian", "bicycle": "Cyclist"}
"""The classes of results that KITTI scores; the others are left out, as in a submission."""

USUAL_SIZE_PX = (1242, 375)
"""Width and height of KITTI's images, pixels; all lie within 18 pixels of it."""

_UPRIGHT_SE3_CAMERA = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def in_nuscenes_classes(sample: SampleRecord) -> SampleRecord:
    """The sample with KITTI's classes under nuScenes' names; those without one keep theirs, and so are not scored."""
    if sample.annotations is None:
        return sample
    boxes = sample.annotations.boxes
    names = tuple(KITTI_TO_NUSCENES.get(name, name) for name in boxes.class_names)
    renamed = Boxes3D(boxes.values, boxes.scores, boxes.labels, names)
    return dataclasses.replace(sample, annotations=dataclasses.replace(sample.annotations, boxes=renamed))


def kitti_sample(root: Path, sample: SampleRecord, detections: Boxes3D) -> KittiSample:
    """One sample of the object benchmark as its metric takes it.

    Args:
        root: folder that holds ``label_2``, ``calib`` and, if there, ``image_2``.
        sample: sample whose token is the files' name.
        detections: boxes in the LiDAR's frame, in nuScenes' classes. Those outside the image are left out.

    Raises:
        DatasetError: the label or calibration file is missing or malformed.
    """
    objects, heights_px, occlusion, truncation = _read_objects(root / "label_2" / f"{sample.token}.txt")
    calibration = read_object_calibration(root / "calib" / f"{sample.token}.txt")
    names = tuple(KITTI_NAME.get(name, "") for name in detections.class_names)
    scored = Boxes3D(detections.values, detections.scores, detections.labels, names).relabelled(KITTI_CLASSES)
    rows, detection_heights_px = _visible_heights(_camera(root, sample, calibration), sample, scored)
    return KittiSample(
        objects,
        heights_px,
        occlusion,
        truncation,
        scored[rows].transformed(_UPRIGHT_SE3_CAMERA @ calibration.reference_SE3_lidar),
        detection_heights_px,
    )


def has_picture(root: Path, token: str) -> bool:
    """Whether the size of a sample's image is known; else it is taken as ``USUAL_SIZE_PX``."""
    return picture_of(root / "image_2", token) is not None


def _camera(root: Path, sample: SampleRecord, calibration: KittiCalibration) -> CameraImage:
    path = picture_of(root / "image_2", sample.token)
    picture = ImageFile(path or root / "image_2" / f"{sample.token}.png")
    width, height = picture.size() if path else USUAL_SIZE_PX
    return CameraImage(CAMERA, picture, calibration.intrinsics, width, height, 0, calibration.ego_SE3_camera, None)


def _visible_heights(
    camera: CameraImage, sample: SampleRecord, boxes: Boxes3D
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Which boxes the camera sees, and how high the part in the picture is, in pixels."""
    no_points = np.zeros((0, 3), np.float32)
    keyframe = Sweep(no_points, ("x", "y", "z"), 0, sample.ego_SE3_lidar, None)
    seen = sorted(wireframes(camera, keyframe, boxes), key=lambda strokes: strokes.index)
    heights = [float(np.ptp(strokes.edges[..., 1])) for strokes in seen]
    return np.array([strokes.index for strokes in seen], np.int64), np.array(heights, np.float64)


def _read_objects(
    path: Path,
) -> tuple[Boxes3D, npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Boxes in the upright camera frame, heights in pixels, occlusion, truncation."""
    try:
        text = regular_file.read_text(path, _MOST_BYTES)
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror}); KITTI's metric needs the labels of every frame"
        ) from None
    lines = [line.split() for line in text.splitlines() if line.strip()]
    named = [_parse(fields, path) for fields in lines if fields[0] != "DontCare"]
    labels = np.array([KITTI_CLASSES.index(name) for name, _ in named], np.int64)
    numbers = np.array([values for _, values in named], dtype=np.float64).reshape(len(named), 14)
    truncation, occlusion = numbers[:, 0], numbers[:, 1]
    height, width, length, x, y, z, rotation_y = numbers[:, 7:14].T
    # rotation_y turns about the axis that points down, and is 0 where the object heads to the camera's right.
    columns = [z, -x, height / 2 - y, length, width, height, -rotation_y - np.pi / 2]
    unknown = np.full((len(named), 2), np.nan)
    values = np.column_stack([*columns, unknown]).astype(np.float32)
    boxes = Boxes3D(values, np.ones(len(named), np.float32), labels, KITTI_CLASSES)
    return boxes, numbers[:, 6] - numbers[:, 4], occlusion.astype(np.int64), truncation


def _parse(fields: list[str], path: Path) -> tuple[str, list[float]]:
    """The class and the 14 numbers of a label."""
    try:
        if fields[0] in KITTI_CLASSES and len(fields) >= 15:
            return fields[0], [float(field) for field in fields[1:15]]
    except ValueError:
        pass
    raise DatasetError(
        f"{path}: received '{' '.join(fields)[:40]}'; expected lines of a class ({', '.join(KITTI_CLASSES)}, DontCare) "
        "and 14 numbers: restore the file"
    )
