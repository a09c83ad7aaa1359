"""Pushing a point of the near side to the centre."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.labelling.placing.push_out import push_out

CAR = np.array([[4.5, 1.8, 1.4]])


@pytest.mark.parametrize(
    ("surface", "yaw", "center"),
    [
        ((10.0, 0.0, -1.0), 0.0, (12.25, 0.0, -1.0)),  # its rear: half a length
        ((10.0, 0.0, -1.0), np.pi, (12.25, 0.0, -1.0)),
        ((10.0, 0.0, -1.0), np.pi / 2, (10.9, 0.0, -1.0)),  # its side: half a width
        ((0.0, -8.0, 0.5), np.pi / 2, (0.0, -10.25, 0.5)),
        ((0.0, -8.0, 0.5), 0.0, (0.0, -8.9, 0.5)),
        ((-6.0, 0.0, 0.0), 0.0, (-8.25, 0.0, 0.0)),
    ],
)
def test_straight_views(surface: tuple[float, ...], yaw: float, center: tuple[float, ...]) -> None:
    found = push_out(np.array([surface]), CAR, np.array([yaw]), np.zeros(2))
    np.testing.assert_allclose(found[0], center, atol=1e-6)


@given(
    st.floats(-np.pi, np.pi),
    st.floats(-np.pi, np.pi),
    st.floats(8, 80),
    st.floats(0.3, 12),
    st.floats(0.3, 3),
)
def test_undoes_walking_from_the_centre_to_where_the_ray_enters(
    yaw: float, bearing: float, range_m: float, length: float, width: float
) -> None:
    """The oracle walks along the ray in small steps until it leaves the box."""
    sensor = np.array([0.7, -0.2])
    ray = np.array([np.cos(bearing), np.sin(bearing)])
    center = sensor + range_m * ray
    steps = np.linspace(0, 8, 16001)[:, None] * -ray
    along = steps @ (np.cos(yaw), np.sin(yaw))
    across = steps @ (-np.sin(yaw), np.cos(yaw))
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    surface = center + steps[np.flatnonzero(inside)[-1]]
    found = push_out(np.array([[*surface, 0.0]]), np.array([[length, width, 1.0]]), np.array([yaw]), sensor)
    assert np.linalg.norm(found[0, :2] - center) < 2e-3


def test_at_the_sensor_itself_stays_finite() -> None:
    assert np.isfinite(push_out(np.zeros((1, 3)), CAR, np.zeros(1), np.zeros(2))).all()


def test_of_nothing_is_nothing() -> None:
    assert push_out(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(2)).shape == (0, 3)
