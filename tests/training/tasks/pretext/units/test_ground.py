from __future__ import annotations

import sys
from typing import Literal

import numpy as np
import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_training.tasks.pretext.units.ground import GroundConfig, find_ground
from lidarloop_training.tasks.pretext.units.ground_lines import LineLimits, PolarGrid, heights_above_lines
from tests.training.tasks.pretext.units.scenes import FloatArray, block, rings

POLAR = PolarGrid(180, 0.4, 0.03)
LIMITS = LineLimits(0.1, 0.06, 0.15)


def plane(slope_x: float, slope_y: float, height: float = -1.8) -> object:
    return lambda xy: height + slope_x * xy[:, 0] + slope_y * xy[:, 1]


@pytest.mark.parametrize("slope", [(0.0, 0.0), (0.08, 0.0), (-0.05, 0.06)])
@pytest.mark.parametrize("below_m", [-1.8, 0.0])
def test_heights_above_a_tilted_plane_are_exact(slope: tuple[float, float], below_m: float) -> None:
    """Lowest points are not at the middle of a direction: across the slope, it is off by half a direction's width."""
    ground = plane(*slope, below_m)
    cloud = rings(ground)
    heights = heights_above_lines(cloud, below_m, POLAR, LIMITS)
    reach_m = np.hypot(*cloud[:, :2].T)
    assert (np.abs(heights) <= np.hypot(*slope) * reach_m * (2 * np.pi / POLAR.num_segments) + 1e-3).all()


@pytest.mark.parametrize("slope", [(0.0, 0.0), (0.05, -0.04)])
def test_the_ground_ends_at_the_given_height(slope: tuple[float, float]) -> None:
    ground = plane(*slope)
    xy = np.array([[8.0, 0.0], [0.0, -10.0], [-6.0, 6.0]], np.float32)
    offsets = np.array([0.1, 0.2])
    posts = np.concatenate([np.column_stack([xy, ground(xy) + offset]) for offset in offsets]).astype(np.float32)
    found = find_ground(np.concatenate([rings(ground), posts]), GroundConfig())[-6:]
    assert found.tolist() == [True] * 3 + [False] * 3


def test_both_sides_of_a_step_are_ground() -> None:
    def pavement(xy: FloatArray) -> FloatArray:
        return -1.8 + 0.02 * xy[:, 0] + np.where(np.abs(xy[:, 1]) > 5, 0.14, 0.0)

    found = find_ground(rings(pavement, noise_m=0.01), GroundConfig())
    assert found.mean() > 0.995


def test_what_stands_on_a_slope_is_no_ground() -> None:
    ground = plane(0.06, 0.02)
    things = []
    for x, y in ((12.0, 3.0), (-9.0, -6.0), (20.0, -14.0), (3.0, 18.0)):
        size = (4.5, 1.8, 1.2)
        center = (x, y, float(ground(np.array([[x, y]]))[0]) + 0.4 + size[2] / 2)
        things.append(block(center, size, 0.2))
    cloud = rings(ground, noise_m=0.02)
    standing = np.concatenate(things)
    found = find_ground(np.concatenate([cloud, standing]), GroundConfig())
    assert found[: len(cloud)].mean() > 0.99
    assert not found[len(cloud) :].any()


def test_a_roof_behind_a_gap_is_no_ground() -> None:
    """Level, wide and beyond the last ground seen: only the step from the line before tells."""
    cloud = rings(plane(0.0, 0.0))
    shadow = (cloud[:, 0] > 8) & (np.abs(cloud[:, 1]) < 6)
    roof = block((14.0, 0.0, -0.4), (8.0, 10.0, 0.0), 0.4)
    found = find_ground(np.concatenate([cloud[~shadow], roof]), GroundConfig())
    assert found[: -len(roof)].all()
    assert not found[-len(roof) :].any()


def test_reflections_below_the_ground_are_ground_and_do_not_lower_it() -> None:
    cloud = rings(plane(0.0, 0.0), noise_m=0.01)
    mirrored = cloud[::50] - np.array([0, 0, 1.5], np.float32)
    post = block((7.0, 2.0, -1.4), (0.1, 0.1, 0.4), 0.1)
    found = find_ground(np.concatenate([cloud, mirrored, post]), GroundConfig())
    assert found[: len(cloud) + len(mirrored)].mean() > 0.995
    assert not found[-len(post) :].any()


def test_order_of_the_points_does_not_matter() -> None:
    cloud = np.concatenate([rings(plane(0.03, 0.0), noise_m=0.02), block((9.0, 2.0, -1.0), (2.0, 2.0, 1.0))])
    order = np.random.default_rng(0).permutation(len(cloud))
    np.testing.assert_array_equal(find_ground(cloud[order], GroundConfig()), find_ground(cloud, GroundConfig())[order])


def test_points_that_are_not_finite_are_no_ground_and_change_nothing() -> None:
    cloud = rings(plane(0.0, 0.0))
    broken = np.array([[np.nan, 0, -1.8], [5, np.inf, -1.8], [5, 0, -np.inf]], np.float32)
    found = find_ground(np.concatenate([broken, cloud]), GroundConfig())
    assert not found[:3].any()
    assert found[3:].all()
    assert find_ground(broken, GroundConfig()).tolist() == [False] * 3
    assert find_ground(np.zeros((0, 4), np.float32), GroundConfig()).shape == (0,)


def test_few_and_far_points_are_answered() -> None:
    config = GroundConfig(bin_growth=0.0)
    assert find_ground(np.array([[5.0, 5.0, -1.7]], np.float32), config).tolist() == [True]
    far = np.array([[1e7, 0.0, 0.0]], np.float32)
    assert find_ground(np.concatenate([rings(plane(0, 0)), far]), config)[:-1].all()


@pytest.mark.parametrize("method", ["lines", "patchwork"])
def test_a_car_stands_on_a_street(method: Literal["lines", "patchwork"]) -> None:
    if method == "patchwork":
        pytest.importorskip("pypatchworkpp", reason="pypatchworkpp is not installed")
    street, car = rings(plane(0.02, 0.0), noise_m=0.02), block((12.0, 3.0, -0.6), (4.5, 1.8, 1.4), 0.2)
    found = find_ground(np.concatenate([street, car]), GroundConfig(method=method))
    assert found[: len(street)].mean() > 0.95
    assert not found[len(street) :].any()


def test_patchwork_that_is_not_installed_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypatchworkpp", None)
    with pytest.raises(ConfigError, match=r"pip install 'lidarloop\[patchwork\]', or choose lines"):
        find_ground(rings(plane(0, 0)), GroundConfig(method="patchwork"))


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_slope"):
        GroundConfig(max_slope=float("nan"))
