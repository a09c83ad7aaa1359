from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.labelling.points.ground_height import MAX_RANGE_M, GroundHeight


def _rings(
    seed: int, height: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], *, noise_m: float = 0.02
) -> npt.NDArray[Any]:
    """A LiDAR's rings on a ground given as a function of x and y."""
    rng = np.random.default_rng(seed)
    radius = np.repeat(np.geomspace(4.0, 50.0, 24), 600)
    angle = rng.uniform(-np.pi, np.pi, len(radius))
    xy = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.column_stack([xy, height(xy) + rng.normal(0, noise_m, len(xy))]).astype(np.float32)


def _box(
    center: Sequence[float], size: Sequence[float], rng: np.random.Generator, number: int = 150
) -> npt.NDArray[Any]:
    """Points on and in a box, from a little above its underside."""
    share = rng.uniform((-0.5, -0.5, 0.2), (0.5, 0.5, 1.0), (number, 3))
    return (np.array(center) + share * size).astype(np.float32)


PLACES = np.random.default_rng(5).uniform(-32, 32, (200, 2))


@settings(max_examples=15, deadline=None)
@given(slope=st.tuples(st.floats(-0.12, 0.12), st.floats(-0.12, 0.12)), height=st.floats(-3, 1), seed=st.integers(0, 9))
def test_a_slope_is_found(slope: tuple[float, float], height: float, seed: int) -> None:
    def plane(xy: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return height + xy @ np.array(slope)

    ground = GroundHeight(_rings(seed, plane))
    np.testing.assert_allclose(ground.at(PLACES), plane(PLACES), atol=0.06)


def test_a_hill_is_followed() -> None:
    def hill(xy: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return 1.5 * np.sin(xy[:, 0] / 15) - 1.8

    off = GroundHeight(_rings(0, hill)).at(PLACES) - hill(PLACES)
    assert np.abs(off).mean() < 0.05
    assert np.abs(off).max() < 0.25


def test_things_on_a_slope_are_not_ground() -> None:
    rng = np.random.default_rng(2)

    def plane(xy: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return 0.08 * xy[:, 0] - 1.8

    cloud = _rings(1, plane)
    things = []
    for x, y in rng.uniform(-35, 35, (40, 2)):
        size = np.array([4.5, 2.0, 1.5])
        underside = plane(np.array([[x, y]]))[0]
        hidden = (np.abs(cloud[:, :2] - (x, y)) < size[:2] / 2).all(axis=1)
        cloud = cloud[~hidden]  # what stands on the ground hides it
        things.append(_box((x, y, underside), size, rng))
    wall = np.column_stack([np.full(3000, 20.0), rng.uniform(-40, 40, 3000), rng.uniform(0.1, 6, 3000)])
    wall[:, 2] += plane(wall)
    ground = GroundHeight(np.concatenate([cloud, *things, wall.astype(np.float32)]))
    off = ground.at(PLACES) - plane(PLACES)
    assert np.abs(off).mean() < 0.03
    assert np.abs(off).max() < 0.2


def test_reflections_below_the_ground_do_not_lower_it() -> None:
    rng = np.random.default_rng(3)
    cloud = _rings(2, lambda xy: np.full(len(xy), -1.8))
    below = cloud[rng.random(len(cloud)) < 0.02] - np.array([0, 0, 1.5], np.float32)
    assert np.abs(GroundHeight(np.concatenate([cloud, below])).at(PLACES) + 1.8).max() < 0.1


def test_order_of_the_points_does_not_matter() -> None:
    cloud = _rings(4, lambda xy: 0.05 * xy[:, 1] - 1.8)
    shuffled = np.random.default_rng(0).permutation(cloud)
    np.testing.assert_allclose(GroundHeight(shuffled).at(PLACES), GroundHeight(cloud).at(PLACES), atol=1e-6)


def test_it_answers_where_nothing_was_seen() -> None:
    cloud = _rings(6, lambda xy: 0.02 * xy[:, 0] - 1.8)
    ahead = cloud[(cloud[:, 0] > 0) & (np.abs(cloud[:, 1]) < 20)]
    places = np.array([[-30.0, 0.0], [60.0, 60.0], [2 * MAX_RANGE_M, 0.0]])
    found = GroundHeight(ahead).at(places)
    assert np.isfinite(found).all()
    assert np.abs(found[:2] - (0.02 * places[:2, 0] - 1.8)).max() < 0.5
    assert found[2] == GroundHeight(ahead).at(np.array([[MAX_RANGE_M, 0.0]]))[0]


def test_few_points_and_none() -> None:
    np.testing.assert_allclose(GroundHeight(np.array([[5.0, 5.0, -1.7]])).at(np.array([[0.0, 9.0]])), -1.7)
    assert np.isnan(GroundHeight(np.zeros((0, 4), np.float32)).at(np.zeros((3, 2)))).all()
    assert GroundHeight(_rings(0, lambda xy: xy[:, 0] * 0)).at(np.zeros((0, 2))).shape == (0,)


@pytest.mark.real
def test_under_labelled_boxes(real_data: Path) -> None:
    """The ground below the boxes that people drew is where these end."""
    from lidarloop_training.data.av2.reader import Av2Source
    from lidarloop_training.data.kitti.object import KittiObjectSource

    for source, median_m, ninth_m in (
        (KittiObjectSource(real_data / "kitti_object_labelled", cameras=False), 0.06, 0.2),
        (Av2Source(real_data / "av2" / "sensor", cameras=False), 0.08, 0.2),
    ):
        off = []
        for sample in (source[i] for i in range(len(source))):
            boxes = sample.annotations.boxes[sample.annotations.num_lidar_pts > 0].values.astype(np.float64)
            boxes = boxes[np.hypot(boxes[:, 0], boxes[:, 1]) < 60]
            ground = GroundHeight(sample.keyframe.points)
            off.append(ground.at(boxes[:, :2]) - (boxes[:, 2] - boxes[:, 5] / 2))
        off_m = np.abs(np.concatenate(off))
        assert len(off_m) > 50
        assert np.median(off_m) < median_m
        assert np.quantile(off_m, 0.9) < ninth_m
