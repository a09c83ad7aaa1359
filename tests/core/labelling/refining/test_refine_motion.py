from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.labelling.refining.motion import has_moved

SIZE = (4.5, 1.8, 1.5)


def seen(places: npt.NDArray[np.float64], random: np.random.Generator, noise_m: float = 0.2) -> npt.NDArray[np.float64]:
    """(N, 9) labels of a car along the x axis."""
    values = np.zeros((len(places), 9))
    values[:, 0], values[:, 3:6] = places, SIZE
    values[:, :2] += random.normal(0, noise_m, (len(places), 2))
    return values


@pytest.mark.parametrize("period_s", [0.1, 0.5])
def test_what_stands_is_not_said_to_have_moved(period_s: float) -> None:
    wrong = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        times_s = np.sort(random.choice(60, random.integers(2, 25), replace=False)) * period_s
        wrong += has_moved(seen(np.zeros(len(times_s)), random), times_s, np.full(len(times_s), 0.4), period_s)
    assert wrong <= 3


@pytest.mark.parametrize("speed_mps", [3.0, -9.0])
def test_what_drives_has_moved(speed_mps: float) -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        times_s = np.arange(8) * 0.5
        assert has_moved(seen(speed_mps * times_s, random), times_s, np.full(8, 0.4), 0.5)


def test_cars_that_pass_one_after_the_other_do_not_make_one_that_stands() -> None:
    """Each is seen for half a second at the same place: over all, nothing moves."""
    random = np.random.default_rng(0)
    times_s = np.concatenate([start + np.arange(6) * 0.1 for start in (0.0, 3.0, 7.0)])
    places = np.tile(8.0 * np.arange(6) * 0.1, 3)
    assert has_moved(seen(places, random), times_s, np.full(18, 0.4), 0.1)


def test_a_long_bus_whose_label_wanders_stands() -> None:
    """The label of a parked bus drifts two metres in ten seconds, as more and more of it is seen."""
    random = np.random.default_rng(0)
    times_s = np.arange(20) * 0.5
    values = seen(0.2 * times_s, random, 0.05)
    values[:, 3] = 12.0
    assert not has_moved(values, times_s, np.full(20, 0.4), 0.5)


def test_too_little_is_no_proof() -> None:
    random = np.random.default_rng(0)
    assert not has_moved(seen(np.array([0.0]), random), np.array([0.0]), np.array([0.4]), 0.5)
    assert not has_moved(seen(np.array([0.0, 4.0]), random), np.array([0.0, 0.5]), np.full(2, 0.4), 0.5)
