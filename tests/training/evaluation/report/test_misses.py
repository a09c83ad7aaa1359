"""Which misses are shown, and that their boxes lie where a camera sees them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import CameraImage, Sample, Sweep
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth, match_detections
from lidarloop_training.evaluation.report.bev import COLORS
from lidarloop_training.evaluation.report.misses import draw_in_camera, worst_misses

# Looking ahead from the LiDAR: x right, y down, z forward.
FORWARD = SE3(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
BACKWARD = SE3.from_yaw(np.pi) @ FORWARD


def boxes(*rows: Sequence[float]) -> Boxes3D:
    values = np.array(rows, np.float32).reshape(-1, 9)
    return Boxes3D(values, np.ones(len(values)), np.zeros(len(values)), NUSCENES_CLASSES)


def car(x: float, y: float = 0.0) -> list[float]:
    return [x, y, 0, 4, 2, 1.5, 0, 0, 0]


def camera(name: str, ego_SE3_camera: SE3, gray: int) -> CameraImage:
    return CameraImage(
        name,
        lambda: np.full((600, 800, 3), gray, np.uint8),
        np.array([[500.0, 0, 400], [0, 500, 300], [0, 0, 1]]),
        800,
        600,
        0,
        ego_SE3_camera,
        None,
    )


def sample() -> Sample:
    sweep = Sweep(np.zeros((0, 4), np.float32), ("x", "y", "z", "intensity"), 0, SE3.identity(), None)
    return Sample("t", "s", 0, (sweep,), (camera("ahead", FORWARD, 40), camera("behind", BACKWARD, 90)))


def test_those_with_most_points_come_first_and_each_object_once() -> None:
    objects = boxes(car(10), car(20), car(30), car(40))
    points = {"a": [50, 9, 400, 7], "b": [80, 9, 20, 7]}
    truths = {token: GroundTruth(objects, np.array(points[token]), np.full(4, np.nan, np.float32)) for token in points}
    found = Boxes3D(objects.values[[1]], [0.9], [0], NUSCENES_CLASSES)
    matching = match_detections({"a": found, "b": found}, truths, DetectionConfig())
    ids = dict.fromkeys(points, ("w", "x", "y", "z"))
    misses = worst_misses(matching, 0.0, ids, count=3)
    assert [(m.token, m.index, m.num_lidar_pts) for m in misses] == [("a", 2, 400), ("b", 0, 80), ("a", 3, 7)]
    assert len(worst_misses(matching, 0.95, ids, count=9)) == 4  # above the score of the found one


def test_with_unknown_points_the_nearest_come_first() -> None:
    objects = boxes(car(30), car(10))
    truths = {"a": GroundTruth(objects, np.full(2, -1), np.full(2, np.nan, np.float32))}
    matching = match_detections({"a": boxes()}, truths, DetectionConfig())
    assert [m.index for m in worst_misses(matching, 0.0, {"a": ("p", "q")}, count=2)] == [1, 0]


def test_the_box_is_drawn_in_the_camera_that_sees_it() -> None:
    objects = boxes(car(10), car(-12, 3))
    for index, gray in ((0, 40), (1, 90)):
        jpeg = draw_in_camera(sample(), objects, index, boxes(), boxes())
        pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
        assert pixels.shape == (480, 640, 3)
        assert abs(np.median(pixels) - gray) < 3
        red = np.abs(pixels - ImageColor.getrgb(COLORS["missed"])).max(axis=2) < 60
        rows, columns = np.nonzero(red)
        assert len(rows) > 200
        # In the middle of the crop, as it is not at the picture's border.
        assert abs((rows.min() + rows.max()) / 2 - 240) < 12
        assert abs((columns.min() + columns.max()) / 2 - 320) < 12


def test_what_no_camera_sees_has_no_picture() -> None:
    assert draw_in_camera(sample(), boxes(car(0, 30)), 0, boxes(), boxes()) is None
    assert draw_in_camera(Sample("t", "s", 0, sample().sweeps), boxes(car(10)), 0, boxes(), boxes()) is None
