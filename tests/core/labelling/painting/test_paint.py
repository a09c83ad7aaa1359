"""PointPainting on cameras with a closed form."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.labelling.painting.paint import is_paint, paint, paint_columns
from lidarloop_core.labelling.painting.score_model import MaskScoreModel, MaskScores
from lidarloop_core.sample import CameraImage, Sweep

WIDTH, HEIGHT, FOCAL = 40, 30, 20.0
CLASSES = ("car", "pedestrian")
FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Optical axes in the vehicle's: z forward along x, x to the right, y down."""


def camera(name: str, yaw_rad: float = 0.0, world_SE3_ego: SE3 | None = None) -> CameraImage:
    intrinsics = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1.0]])
    pose = SE3.from_yaw(yaw_rad, (0.0, 0.0, 0.0)) @ SE3(FORWARD, np.zeros(3))
    return CameraImage(
        name, lambda: np.zeros((HEIGHT, WIDTH, 3), np.uint8), intrinsics, WIDTH, HEIGHT, 0, pose, world_SE3_ego
    )


def sweep(*points: tuple[float, float, float], world_SE3_ego: SE3 | None = None) -> Sweep:
    return Sweep(np.array(points, np.float32), ("x", "y", "z"), 0, SE3.identity(), world_SE3_ego)


@dataclass(frozen=True)
class Constant:
    """The same scores everywhere."""

    scores: tuple[float, ...]
    width: int = WIDTH
    height: int = HEIGHT

    def at(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.tile(np.array(self.scores, np.float32), (len(pixels), 1))


@dataclass(frozen=True)
class Columns:
    """The pixel's own column and row as scores."""

    width: int = WIDTH
    height: int = HEIGHT

    def at(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return pixels.astype(np.float32)


def test_a_point_is_given_the_scores_of_the_pixel_it_falls_on() -> None:
    ahead = sweep((10.0, 2.0, 1.0), (10.0, -3.0, -2.0))
    found = paint(ahead, [camera("front")], [Columns()], 2)
    # u = f · (−y / x) + c, v = f · (−z / x) + c
    np.testing.assert_allclose(found, [[1, 15.5, 12.5], [1, 25.5, 18.5]], atol=1e-5)


def test_scores_of_several_cameras_are_averaged() -> None:
    cameras = [camera("front"), camera("front right", -0.3), camera("back", np.pi)]
    scores = [Constant((0.2, 0.0)), Constant((0.6, 1.0)), Constant((0.9, 0.9))]
    np.testing.assert_allclose(paint(sweep((10.0, -2.0, 0.0)), cameras, scores, 2), [[1, 0.4, 0.5]], atol=1e-6)


def test_points_that_no_camera_sees_are_marked() -> None:
    points = sweep((-10.0, 0.0, 0.0), (10.0, 30.0, 0.0), (0.5, 0.0, 0.0), (float("nan"), 0.0, 0.0), (10.0, 0.0, 0.0))
    found = paint(points, [camera("front")], [Constant((0.5, 0.5))], 2)
    assert found[:, 0].tolist() == [0, 0, 0, 0, 1]  # behind, beside, nearer than a metre, nowhere
    assert not found[:4, 1:].any()


def test_a_point_on_background_is_seen_and_has_no_score() -> None:
    assert paint(sweep((10.0, 0.0, 0.0)), [camera("front")], [Constant((0.0, 0.0))], 2).tolist() == [[1, 0, 0]]


def test_an_older_sweep_is_projected_by_the_vehicle_s_motion() -> None:
    """The vehicle was 2 m behind: its point at 12 m is 10 m before the camera now."""
    now, before = SE3.identity(), SE3.from_yaw(0.0, (-2.0, 0.0, 0.0))
    old = sweep((12.0, 2.0, 1.0), world_SE3_ego=before)
    found = paint(old, [camera("front", world_SE3_ego=now)], [Columns()], 2)
    np.testing.assert_allclose(found, [[1, 15.5, 12.5]], atol=1e-5)


def test_a_camera_that_cannot_be_projected_into_sees_nothing() -> None:
    broken = dataclasses.replace(camera("front"), intrinsics=np.zeros((3, 3)))
    other_size = dataclasses.replace(Constant((1.0, 1.0)), width=10)
    point = sweep((10.0, 0.0, 0.0))
    assert not paint(point, [broken], [Constant((1.0, 1.0))], 2).any()
    assert not paint(point, [camera("front")], [other_size], 2).any()


def test_without_cameras_nothing_is_seen() -> None:
    assert not paint(sweep((10.0, 0.0, 0.0)), [], [], 2).any()


def masks() -> InstanceMasks:
    """Two cars, of which one overlaps the other, and a pedestrian without a finite score."""
    windows = tuple(MaskWindow(left, 0, np.ones((10, 10), np.bool_)) for left in (0, 5, 20))
    scores = np.array([0.4, 0.9, np.nan], np.float32)
    return InstanceMasks(np.zeros((3, 4)), scores, np.array([0, 0, 1]), windows, CLASSES, WIDTH, HEIGHT)


def test_masks_give_the_best_score_of_each_class_that_covers_a_pixel() -> None:
    pixels = np.array([[1, 1], [7, 7], [12, 3], [25, 5], [39, 29]], np.float32)
    expected = [[0.4, 0], [0.9, 0], [0.9, 0], [0, 0], [0, 0]]
    np.testing.assert_allclose(MaskScores(masks()).at(pixels), expected)


def test_a_mask_model_scores_each_picture() -> None:
    class Model:
        name, class_names = "made", CLASSES

        def find(self, sample_token: str, images: list[CameraImage]) -> list[InstanceMasks]:
            assert sample_token == "token"
            return [masks() for _ in images]

    found = MaskScoreModel(Model()).score("token", [camera("front"), camera("back")])
    assert len(found) == 2
    assert (found[0].width, found[0].height) == (WIDTH, HEIGHT)


def test_columns_are_told_by_their_names() -> None:
    columns = paint_columns(CLASSES)
    assert columns == ("seen", "paint_car", "paint_pedestrian")
    assert all(map(is_paint, columns))
    assert not any(map(is_paint, ("x", "intensity", "dt", "label")))


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (2 * WIDTH, 3 * HEIGHT)])
def test_probabilities_are_those_of_the_map_s_cell_below_a_pixel(size: tuple[int, int]) -> None:
    from lidarloop_core.labelling.painting.semantic_model import ProbabilityMaps

    rng = np.random.default_rng(0)
    maps = rng.random((2, 6, 8)).astype(np.float32)
    width, height = size
    spread = ProbabilityMaps(maps, width, height)
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    found = spread.at(np.stack([column.ravel(), row.ravel()], axis=1).astype(np.float32)).reshape(height, width, 2)
    enlarged = maps.repeat(height // 6, axis=1).repeat(width // 8, axis=2).transpose(1, 2, 0)
    np.testing.assert_array_equal(found, enlarged)
