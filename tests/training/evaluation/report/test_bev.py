"""The picture from above puts things where they are."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageColor

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.report.bev import COLORS, draw_bev
from lidarloop_training.evaluation.statistics.breakdown import SampleOutcome

NO_POINTS = np.zeros((0, 3), np.float32)


def boxes(*rows: Sequence[float]) -> Boxes3D:
    return Boxes3D(np.array(rows).reshape(-1, 9), np.ones(len(rows)), np.zeros(len(rows)), NUSCENES_CLASSES)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def near(image: np.ndarray, x_m: float, y_m: float, color: str, extent_m: float = 51.2) -> bool:
    """Whether the colour is seen within two pixels of a place on the ground."""
    scale = len(image) / (2 * extent_m)
    row, column = round((extent_m - x_m) * scale), round((extent_m - y_m) * scale)
    patch = image[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
    return bool((np.abs(patch - ImageColor.getrgb(color)).max(axis=2) < 30).any())


def test_forward_is_up_and_left_is_left() -> None:
    image = pixels(draw_bev(NO_POINTS, boxes([20, 10, 0, 8, 4, 2, 0, 0, 0])))
    assert image.shape == (720, 720, 3)
    for x, y in ((24, 10), (16, 10), (20, 12), (20, 8), (24.6, 10)):  # four edges and the nose in front
        assert near(image, x, y, COLORS["detection"])
    assert not near(image, 15.4, 10, COLORS["detection"])
    assert not near(image, 20, -10, COLORS["detection"])


def test_a_box_turned_left_points_left() -> None:
    image = pixels(draw_bev(NO_POINTS, boxes([20, 10, 0, 8, 4, 2, np.pi / 2, 0, 0])))
    assert near(image, 20, 14.6, COLORS["detection"])
    assert not near(image, 20, 5.4, COLORS["detection"])


def test_the_cloud_is_drawn() -> None:
    wall = np.random.default_rng(0).uniform((29, -21, 4), (31, -19, 6), (500, 3))
    ground = np.array([[-30.0, 20.0, 0.0]] * 500)
    image = pixels(draw_bev(np.concatenate([wall, ground]), boxes()))
    assert near(image, 30, -20, "#e3eaf8")  # high
    assert near(image, -30, 20, "#46577d")  # low


def test_boxes_are_coloured_by_verdict() -> None:
    detections = boxes([20, 10, 0, 8, 4, 2, 0, 0, 0], [-20, 10, 0, 8, 4, 2, 0, 0, 0], [0, 30, 0, 8, 4, 2, 0, 0, 0])
    objects = boxes([20, 10, 0, 8, 4, 2, 0, 0, 0], [-20, -10, 0, 8, 4, 2, 0, 0, 0])
    outcome = SampleOutcome("a", np.array([0]), np.array([1]), np.array([0]), np.array([1]))
    image = pixels(draw_bev(NO_POINTS, detections, objects, outcome))
    assert near(image, 24, 10, COLORS["hit"])
    assert near(image, -16, 10, COLORS["invention"])
    assert near(image, -16, -10, COLORS["missed"])
    assert not near(image, 4, 30, COLORS["invention"])  # below the operating score: not in the outcome


@pytest.mark.parametrize("size_px", [300, 1000])
def test_size(size_px: int) -> None:
    assert pixels(draw_bev(NO_POINTS, boxes(), size_px=size_px)).shape == (size_px, size_px, 3)
