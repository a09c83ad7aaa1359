from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import Sample, Sweep
from lidarloop_training.pseudolabel.lidar_only import ClusterConfig, ClusterLifter, clusters, extents, misfits

GROUND_Z = -1.8
SIZES = ShapePriors.paper().of(NUSCENES_CLASSES)


def ground() -> np.ndarray:
    x, y = np.meshgrid(np.arange(-40, 40, 0.5), np.arange(-40, 40, 0.5))
    return np.column_stack([x.ravel(), y.ravel(), np.full(x.size, GROUND_Z)])


def shell(x: float, y: float, size: tuple[float, float, float], underside_m: float = 0.0) -> np.ndarray:
    """The four sides of a box that stands on the ground, or hangs above it."""
    rng = np.random.default_rng(0)
    n = 4000
    along = rng.uniform(-0.5, 0.5, (n, 3))
    side = rng.integers(0, 2, n)
    along[np.arange(n), side] = rng.choice([-0.5, 0.5], n)
    return along * size + np.array([x, y, GROUND_Z + underside_m + size[2] / 2])


def lifted(*things: np.ndarray) -> Any:
    points = np.concatenate([ground(), *things]).astype(np.float32)
    sweep = Sweep(points, ("x", "y", "z"), 0, SE3.identity(), None)
    lifter = ClusterLifter(ShapePriors.paper(), LiftingConfig(num_sweeps=1))
    return lifter(Sample("t", "s", 0, (sweep,)), None)


@pytest.mark.parametrize("name", ["car", "bus", "pedestrian"])
def test_a_thing_of_usual_size_is_named_and_placed(name: str) -> None:
    size = ShapePriors.paper().sizes[name]

    labels, _ = lifted(shell(12.0, 5.0, size))

    assert labels.boxes.names == [name]
    np.testing.assert_allclose(labels.boxes.centers[0, :2], (12.0, 5.0), atol=0.5)
    assert labels.num_points[0] > 100
    assert labels.boxes.scores[0] > 0.7
    assert labels.cameras == ((),)


def test_a_wall_is_nothing_and_is_counted() -> None:
    labels, left_out = lifted(shell(15.0, 0.0, (1.0, 30.0, 4.0)))

    assert len(labels) == 0
    assert left_out.masks["cluster of no known size"] == 1


def test_ground_alone_gives_nothing() -> None:
    labels, left_out = lifted()

    assert len(labels) == 0
    assert not left_out.masks.total()


def test_things_apart_are_clusters_and_what_hangs_is_not() -> None:
    car = ShapePriors.paper().sizes["car"]
    points = np.concatenate(
        [ground(), shell(10, 0, car), shell(10, 8, car), shell(-12, -6, car, underside_m=2.5)]
    ).astype(np.float32)

    found = clusters(points, ClusterConfig())

    assert [c.height_m for c in found] == pytest.approx([car[2], car[2]], abs=0.01)
    assert sorted(tuple(np.round(c.points[:, :2].mean(axis=0))) for c in found) == [(10.0, 0.0), (10.0, 8.0)]


def test_extents_turn_with_the_thing() -> None:
    box = shell(0, 0, (4.0, 2.0, 1.5))
    turned = SE3.from_yaw(0.7, (9.0, -3.0, 0.0)).transform(box)

    np.testing.assert_allclose(extents(turned.astype(np.float32)), extents(box.astype(np.float32)), atol=1e-3)


def test_too_large_counts_more_than_too_small() -> None:
    car = NUSCENES_CLASSES.index("car")
    size = SIZES[car]

    assert misfits(size, SIZES)[car] == 0
    smaller, larger = misfits(size * (0.5, 1, 1), SIZES)[car], misfits(size * (2, 1, 1), SIZES)[car]
    assert 0 < smaller < larger
