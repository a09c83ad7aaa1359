"""Lines of sight past, into and through a place where a car may stand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.labelling.refining.sight import SightLines

SENSOR = np.array([100.0, 50.0, 1.8])
BOX = np.array([0.0, 0.0, 0.75, 4.5, 1.8, 1.5, 0.3, 0.0, 0.0])


def lines(flat_m: float, num: int = 5, bearing: float = 0.0, slope: float = -0.05) -> npt.NDArray[np.float64]:
    """Points at a distance from the sensor in the ground plane, within 1° of a bearing."""
    azimuth = bearing + np.radians(np.linspace(-1, 1, num))
    offset = np.column_stack([flat_m * np.cos(azimuth), flat_m * np.sin(azimuth), np.full(num, flat_m * slope)])
    return SENSOR + offset


def saw_through(points: npt.NDArray[np.float64], distance_m: float = 20.0, bearing: float = 0.0) -> bool:
    sight = SightLines()
    sight.add(points, SENSOR)
    box = BOX.copy()
    box[:2] = SENSOR[:2] + distance_m * np.array([np.cos(bearing), np.sin(bearing)])
    return sight.saw_through(0, box, SENSOR[:2])


def test_a_place_with_enough_points_behind_it_and_none_in_it_is_empty() -> None:
    assert saw_through(lines(35, 8))
    assert not saw_through(lines(35, 7))


@pytest.mark.parametrize("bearing", [0.0, 2.0, np.pi, -np.pi + 0.001])
def test_the_bearing_does_not_matter_even_at_the_seam(bearing: float) -> None:
    assert saw_through(lines(35, 20, bearing), bearing=bearing)


def test_a_place_with_points_in_it_is_not_empty_but_a_few_are_no_car() -> None:
    assert not saw_through(np.concatenate([lines(35, 20), lines(19, 10)]))
    assert saw_through(np.concatenate([lines(35, 20), lines(19, 4)]))


def test_a_hidden_place_is_not_known_to_be_empty() -> None:
    assert not saw_through(lines(10, 50))


def test_lines_above_below_and_beside_do_not_count() -> None:
    assert not saw_through(lines(35, 20, slope=0.02))  # passes 2.2 m above the ground
    assert not saw_through(lines(21.5, 20, slope=-0.08))  # ends on the ground just behind
    assert not saw_through(lines(35, 20, bearing=0.3))


def test_a_box_about_the_sensor_is_not_judged() -> None:
    assert not saw_through(lines(35, 20), distance_m=1.0)
