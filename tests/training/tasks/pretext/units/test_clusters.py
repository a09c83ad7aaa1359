from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from lidarloop_core.errors import ConfigError
from lidarloop_training.tasks.pretext.units.clusters import (
    ClusterConfig,
    extents,
    find_clusters,
    linked,
    nodes_of_cells,
    nodes_of_pixels,
    plausible_clusters,
)
from tests.training.tasks.pretext.units.scenes import block

CONFIG = ClusterConfig(radius_m=0.4, radius_share=0.01, height_share=0.5)
CAR, WALKER = (4.5, 1.8, 1.5), (0.5, 0.5, 1.7)


def groups(cluster: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(cluster == number).tolist()) for number in np.unique(cluster)}


@pytest.mark.parametrize("seed", range(4))
def test_links_are_those_of_the_definition(seed: int) -> None:
    xyz = np.random.default_rng(seed).uniform((-10, -10, -1), (10, 10, 1), (800, 3)).astype(np.float32)
    off = (xyz[:, None] - xyz) * (1, 1, 0.5)
    reach = 0.4 + 0.01 * np.linalg.norm(xyz, axis=1)
    near = np.linalg.norm(off, axis=2) <= np.maximum(reach[:, None], reach)
    _, expected = connected_components(near, directed=False)
    found = linked(xyz, CONFIG)
    assert 100 < len(np.unique(found)) < 600
    assert groups(found) == groups(expected)


@pytest.mark.parametrize("nodes", ["cells", "pixels"])
@pytest.mark.parametrize(("gap_m", "number"), [(0.3, 1), (1.0, 2)])
def test_blocks_are_one_cluster_up_to_the_radius(nodes: str, gap_m: float, number: int) -> None:
    side = 1.0
    first = block((8.0, -gap_m / 2 - side / 2, 0.0), (side, side, 1.0))
    second = block((8.0, gap_m / 2 + side / 2, 0.0), (side, side, 1.0))
    found = find_clusters(np.concatenate([first, second]), dataclasses.replace(CONFIG, nodes=nodes))
    assert np.unique(found[found >= 0]).tolist() == list(range(number))
    halves = found[: len(first)], found[len(first) :]
    assert all(len(np.unique(half[half >= 0])) == 1 for half in halves)


def test_the_radius_grows_with_range() -> None:
    config = dataclasses.replace(CONFIG, radius_share=0.02)
    for range_m, number in ((5.0, 2), (30.0, 1)):  # 0.5 m and 1 m against a gap of 0.8 m
        pair = np.concatenate([block((range_m, side, 0.0), (0.4, 0.4, 1.0)) for side in (-0.6, 0.6)])
        assert len(np.unique(find_clusters(pair, config))) == number


def test_cells_stand_for_the_mean_of_their_points() -> None:
    xyz = np.array([[1.01, 1.01, 0.01], [1.03, 1.05, 0.09], [1.01, 1.01, 0.5], [-3, 0, 0]], np.float32)
    nodes = nodes_of_cells(xyz, CONFIG)  # 0.2 × 0.2 × 0.4 m
    assert nodes.of_point[0] == nodes.of_point[1]
    assert len(np.unique(nodes.of_point)) == 3
    np.testing.assert_allclose(nodes.places[nodes.of_point[0]], [1.02, 1.03, 0.05], atol=1e-6)
    np.testing.assert_allclose(nodes.places[nodes.of_point[2:]], xyz[2:])


def test_a_pixel_shows_its_nearest_point_and_hides_what_is_far_behind() -> None:
    direction = np.array([math.cos(0.101), math.sin(0.101), 0.01], np.float32)
    xyz = np.array([20 * direction, 10 * direction, 10.3 * direction, [0, 5, 0]], np.float32)
    nodes = nodes_of_pixels(xyz, CONFIG)
    assert nodes.of_point[0] == -1
    assert nodes.of_point[1] == nodes.of_point[2] >= 0
    np.testing.assert_array_equal(nodes.places[nodes.of_point[1]], xyz[1])
    np.testing.assert_array_equal(nodes.places[nodes.of_point[3]], xyz[3])


@pytest.mark.parametrize("yaw_rad", [0.0, 0.3, 1.2, -2.0])
def test_extents_are_the_sides_at_any_heading(yaw_rad: float) -> None:
    """To 5° of heading: a car's width is too large by 4.5 m × sin 2.5° at most."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    clouds = [block((9, 4, 1), CAR) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]), block((-5, 0, 0), WALKER)]
    found = extents(np.concatenate(clouds).astype(np.float32), np.array([0, len(clouds[0])]))
    np.testing.assert_allclose(found[0], CAR, atol=4.5 * math.sin(math.radians(2.5)))
    np.testing.assert_allclose(found[1], WALKER, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "limits", "kept"),
    [
        (CAR, {}, True),
        (WALKER, {}, True),
        ((20.0, 2.0, 3.0), {}, False),  # too long
        ((12.0, 0.2, 2.0), {}, False),  # too thin
        ((6.0, 0.2, 2.0), {}, True),  # a flank
        ((2.0, 2.0, 6.0), {}, False),  # too high
        ((2.0, 2.0, 0.1), {}, False),  # too low
        ((0.1, 0.1, 0.3), {"min_points": 17}, False),
        ((0.1, 0.1, 0.3), {"min_points": 16}, True),
    ],
)
def test_clusters_of_odd_sizes_are_left_out(size: tuple[float, ...], limits: dict[str, int], kept: bool) -> None:
    xyz = block((10, 0, 0), size)
    config = dataclasses.replace(ClusterConfig(), **limits)
    found = plausible_clusters(xyz, np.zeros(len(xyz), np.int32), config)
    assert (found == (0 if kept else -1)).all()


def test_clusters_that_stay_are_counted_anew() -> None:
    xyz = np.concatenate([block((10, 0, 0), (20, 2, 3)), block((0, 30, 0), CAR), block((0, -30, 0), WALKER)])
    cluster = np.repeat(np.array([2, 7, 5], np.int32), [len(xyz) - 1, 0, 1])
    sizes = [len(block((0, 0, 0), size)) for size in ((20, 2, 3), CAR, WALKER)]
    cluster = np.repeat(np.array([2, 7, 5], np.int32), sizes)
    found = plausible_clusters(xyz, cluster, ClusterConfig())
    assert [np.unique(part).tolist() for part in np.split(found, np.cumsum(sizes)[:-1])] == [[-1], [1], [0]]


def test_no_points_and_no_clusters() -> None:
    none = np.zeros((0, 3), np.float32)
    for nodes in ("cells", "pixels"):
        assert find_clusters(none, dataclasses.replace(CONFIG, nodes=nodes)).shape == (0,)
    lone = np.array([[5, 0, 0], [9, 0, 0]], np.float32)
    assert find_clusters(lone, CONFIG).tolist() == [-1, -1]


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="radius_m"):
        ClusterConfig(radius_m=0.0)
