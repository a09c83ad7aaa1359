"""The filter and the smoother against one least-squares problem over the whole path, solved at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.tracking.kalman import (
    STATE_SIZE,
    UNKNOWN,
    Beliefs,
    predict,
    process_noise,
    smooth,
    transition,
    update,
)

FloatArray = npt.NDArray[np.float64]


def covariances(random: np.random.Generator, num: int) -> FloatArray:
    root = random.normal(size=(num, STATE_SIZE, STATE_SIZE))
    return np.asarray(root @ root.transpose(0, 2, 1) + 0.1 * np.eye(STATE_SIZE))


def batch_solution(
    times_s: FloatArray,
    measured: list[Beliefs],
    seen: npt.NDArray[np.bool_],
    acceleration: FloatArray,
    prior: Beliefs,
    i: int,
) -> tuple[FloatArray, FloatArray]:
    """All states of object ``i`` as the minimum of one quadratic form: means (T, 5) and their covariances (T, 5, 5)."""
    num = len(times_s)
    information = np.zeros((num * STATE_SIZE, num * STATE_SIZE))
    vector = np.zeros(num * STATE_SIZE)

    def add(rows: list[tuple[int, FloatArray]], value: FloatArray, covariance: FloatArray) -> None:
        weight = np.linalg.inv(covariance)
        for k, a in rows:
            vector[k * 5 : k * 5 + 5] += a.T @ weight @ value
            for m, b in rows:
                information[k * 5 : k * 5 + 5, m * 5 : m * 5 + 5] += a.T @ weight @ b

    add([(0, np.eye(5))], prior.mean[i], prior.covariance[i])
    for k in range(num):
        if seen[k, i]:
            add([(k, np.eye(5))], measured[k].mean[i], measured[k].covariance[i])
        if k + 1 < num:
            dt_s = float(times_s[k + 1] - times_s[k])
            noise = process_noise(dt_s, acceleration)[i]
            add([(k, -transition(dt_s)), (k + 1, np.eye(5))], np.zeros(5), noise)
    covariance = np.linalg.inv(information)
    means = (covariance @ vector).reshape(num, 5)
    return means, np.array([covariance[k * 5 : k * 5 + 5, k * 5 : k * 5 + 5] for k in range(num)])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 7))
def test_smoothing_is_the_batch_solution(seed: int, num_times: int) -> None:
    random = np.random.default_rng(seed)
    times_s = np.cumsum(random.uniform(0.05, 0.6, num_times))
    measured = [Beliefs(random.normal(size=(3, 5)) * 5, covariances(random, 3)) for _ in range(num_times)]
    seen = random.random((num_times, 3)) < 0.7
    acceleration = random.uniform(0.5, 3, 3)
    prior = Beliefs(random.normal(size=(3, 5)), covariances(random, 3))
    smoothed = smooth(times_s, measured, seen, acceleration, prior)
    for i in range(3):
        means, spreads = batch_solution(times_s, measured, seen, acceleration, prior, i)
        np.testing.assert_allclose([b.mean[i] for b in smoothed], means, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose([b.covariance[i] for b in smoothed], spreads, rtol=1e-6, atol=1e-6)


def test_the_last_filtered_belief_is_the_last_smoothed_one() -> None:
    random = np.random.default_rng(3)
    times_s = np.arange(6) * 0.1
    measured = [Beliefs(random.normal(size=(2, 5)), covariances(random, 2)) for _ in times_s]
    belief = prior = Beliefs(np.zeros((2, 5)), covariances(random, 2))
    acceleration = np.array([1.0, 2.0])
    for k, measurement in enumerate(measured):
        belief = update(predict(belief, 0.1, acceleration) if k else belief, measurement)
    smoothed = smooth(times_s, measured, np.ones((6, 2), np.bool_), acceleration, prior)
    np.testing.assert_allclose(belief.mean, smoothed[-1].mean, rtol=1e-9)
    np.testing.assert_allclose(belief.covariance, smoothed[-1].covariance, rtol=1e-9)


@given(st.integers(0, 1000), st.floats(0.01, 2), st.floats(0.01, 2))
def test_two_steps_are_one_long_step(seed: int, first_s: float, second_s: float) -> None:
    random = np.random.default_rng(seed)
    belief = Beliefs(random.normal(size=(4, 5)), covariances(random, 4))
    acceleration = random.uniform(0.1, 5, 4)
    twice = predict(predict(belief, first_s, acceleration), second_s, acceleration)
    once = predict(belief, first_s + second_s, acceleration)
    np.testing.assert_allclose(twice.mean, once.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(twice.covariance, once.covariance, rtol=1e-9, atol=1e-12)


def test_an_update_weighs_by_variance_and_leaves_unknown_velocities() -> None:
    before = Beliefs(np.array([[0.0, 0, 0, 3, 4]]), np.diag([4.0, 4, 1, 1, 1])[None])
    told = Beliefs(np.array([[10.0, 10, 1, -50, -50]]), np.diag([1.0, 4, 1, UNKNOWN, UNKNOWN])[None])
    after = update(before, told)
    np.testing.assert_allclose(after.mean[0], [8, 5, 0.5, 3, 4], atol=1e-4)
    np.testing.assert_allclose(np.diag(after.covariance[0]), [0.8, 2, 0.5, 1, 1], atol=1e-4)


def test_velocity_appears_from_positions_alone() -> None:
    times_s = np.arange(20) * 0.5
    noise = np.diag([0.01, 0.01, 0.01, UNKNOWN, UNKNOWN])[None]
    measured = [Beliefs(np.array([[3 * t, -2 * t, 1.0, 0, 0]]), noise) for t in times_s]
    prior = Beliefs(np.zeros((1, 5)), np.diag([UNKNOWN, UNKNOWN, UNKNOWN, 25, 25])[None])
    for belief in smooth(times_s, measured, np.ones((20, 1), np.bool_), np.array([0.5]), prior):
        assert belief.mean[0, 3:] == pytest.approx([3, -2], abs=0.05)
