"""A constant-velocity Kalman filter and its smoother, for many objects at once.

State x, y, z, vx, vy: objects move in the ground plane; their height only drifts. An object's acceleration is white
noise, so that position and velocity spread together over a step (Bar-Shalom, Li, Kirubarajan, "Estimation with
Applications to Tracking and Navigation", 2001, section 6.2.2). Everything is measured, the velocity with a variance of
``UNKNOWN`` where a detector gives none: so the measurement matrix is the identity and drops out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

STATE_SIZE = 5
UNKNOWN = 1e6
"""Variance of a measurement that carries no information."""

HEIGHT_VARIANCE_M2 = 0.04
"""Variance of a measured height, m²."""

_DRIFT_Z_M2_PER_S = 0.01


@dataclass(frozen=True)
class Beliefs:
    """Gaussian estimates of N objects.

    Attributes:
        mean: (N, 5) x, y, z in metres, vx, vy in m/s.
        covariance: (N, 5, 5) covariances of these.
    """

    mean: FloatArray
    covariance: FloatArray

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, index: npt.NDArray[Any]) -> Beliefs:
        return Beliefs(self.mean[index], self.covariance[index])

    @staticmethod
    def joined(parts: Sequence[Beliefs]) -> Beliefs:
        return Beliefs(np.concatenate([p.mean for p in parts]), np.concatenate([p.covariance for p in parts]))


def transition(dt_s: float) -> FloatArray:
    """(5, 5) transition of a state over ``dt_s`` seconds."""
    matrix = np.eye(STATE_SIZE)
    matrix[0, 3] = matrix[1, 4] = dt_s
    return matrix


def process_noise(dt_s: float, acceleration_mpss: FloatArray) -> FloatArray:
    """(N, 5, 5) covariance added in ``dt_s`` seconds by acceleration, (N,) standard deviations over a second."""
    dt_s = abs(dt_s)
    noise = np.zeros((len(acceleration_mpss), STATE_SIZE, STATE_SIZE))
    power = acceleration_mpss**2
    for position, velocity in ((0, 3), (1, 4)):
        noise[:, position, position] = power * dt_s**3 / 3
        noise[:, position, velocity] = noise[:, velocity, position] = power * dt_s**2 / 2
        noise[:, velocity, velocity] = power * dt_s
    noise[:, 2, 2] = _DRIFT_Z_M2_PER_S * dt_s
    return noise


def predict(beliefs: Beliefs, dt_s: float, acceleration_mpss: FloatArray) -> Beliefs:
    """The estimates ``dt_s`` seconds later; ``acceleration_mpss`` is (N,)."""
    step = transition(dt_s)
    covariance = step @ beliefs.covariance @ step.T + process_noise(dt_s, acceleration_mpss)
    return Beliefs(beliefs.mean @ step.T, covariance)


def update(beliefs: Beliefs, measured: Beliefs) -> Beliefs:
    """The estimates after N measurements, one of each object."""
    # Covariances are symmetric, so solving for their product gives the gain transposed.
    gain = np.linalg.solve(beliefs.covariance + measured.covariance, beliefs.covariance).transpose(0, 2, 1)
    mean = beliefs.mean + np.einsum("nij,nj->ni", gain, measured.mean - beliefs.mean)
    # Joseph's form: stays symmetric and positive beside variances of UNKNOWN.
    rest = np.eye(STATE_SIZE) - gain
    covariance = rest @ beliefs.covariance @ rest.transpose(0, 2, 1)
    covariance += gain @ measured.covariance @ gain.transpose(0, 2, 1)
    return Beliefs(mean, covariance)


def smooth(
    times_s: FloatArray,
    measured: Sequence[Beliefs],
    seen: npt.NDArray[np.bool_],
    acceleration_mpss: FloatArray,
    prior: Beliefs,
) -> list[Beliefs]:
    """The best estimate at every time from the measurements of all times (Rauch, Tung, Striebel 1965).

    Args:
        times_s: (T,) ascending times, seconds.
        measured: T measurements of N objects each.
        seen: (T, N) bool, which measurements exist; the others are ignored.
        acceleration_mpss: (N,) standard deviation of the acceleration over a second.
        prior: estimates of the N objects at the first time, before any measurement.

    Returns:
        T estimates of the N objects.
    """
    predicted, filtered = [prior], []
    for k in range(len(times_s)):
        belief = predicted[k]
        if seen[k].any():
            after = update(belief, measured[k])
            belief = Beliefs(
                np.where(seen[k][:, None], after.mean, belief.mean),
                np.where(seen[k][:, None, None], after.covariance, belief.covariance),
            )
        filtered.append(belief)
        if k + 1 < len(times_s):
            predicted.append(predict(belief, float(times_s[k + 1] - times_s[k]), acceleration_mpss))
    smoothed = [filtered[-1]]
    for k in range(len(times_s) - 2, -1, -1):
        step = transition(float(times_s[k + 1] - times_s[k]))
        gain = np.linalg.solve(predicted[k + 1].covariance, step @ filtered[k].covariance).transpose(0, 2, 1)
        later = smoothed[-1]
        mean = filtered[k].mean + np.einsum("nij,nj->ni", gain, later.mean - predicted[k + 1].mean)
        covariance = filtered[k].covariance + gain @ (later.covariance - predicted[k + 1].covariance) @ gain.transpose(
            0, 2, 1
        )
        smoothed.append(Beliefs(mean, covariance))
    return smoothed[::-1]
