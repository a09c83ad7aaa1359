"""Boxes on cars, on walls and on a tree, of which the points are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.labelling.placing.walls import in_walls

LARGEST_CAR = np.array([6.5, 2.5, 2.8])
CAR = (4.5, 1.8, 1.5)


def face(low: float, high: float, y: float, top: float) -> npt.NDArray[np.float64]:
    """Points of an upright plane along x, 0.1 m apart and 0.2 m in height, ground at 0."""
    x, z = np.meshgrid(np.arange(low, high, 0.1), np.arange(0.2, top, 0.2))
    return np.column_stack([x.ravel(), np.full(x.size, y), z.ravel()])


def box(x: float, y: float, size: tuple[float, float, float] = CAR, yaw: float = 0.0) -> npt.NDArray[np.float64]:
    """A box whose underside is on the ground."""
    return np.array([x, y, size[2] / 2, *size, yaw, 0, 0])


def is_in_wall(points: npt.NDArray[np.float64], one: npt.NDArray[np.float64], has_faces: bool = True) -> bool:
    return bool(in_walls(points, one[None], LARGEST_CAR[None], np.array([has_faces]))[0])


def test_a_car_alone_is_no_wall() -> None:
    assert not is_in_wall(face(7.75, 12.25, 5.1, 1.5), box(10, 6))


@pytest.mark.parametrize("x", [8.0, 10.0, 14.0])
def test_a_piece_of_a_wall_is_one_wherever_it_is_cut(x: float) -> None:
    assert is_in_wall(face(5, 17, 5.1, 2.5), box(x, 6))


def test_a_wall_turned_with_its_box_is_one_as_well() -> None:
    c, s = np.cos(0.7), np.sin(0.7)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    turned = box(10, 6, yaw=0.7)
    turned[:3] = turn @ turned[:3]
    assert is_in_wall(face(5, 17, 5.1, 2.5) @ turn.T, turned)


def test_a_row_of_cars_is_no_wall_though_their_sides_lie_in_one_plane() -> None:
    row = np.concatenate([face(x, x + 4.4, 5.1, 1.5) for x in (0.0, 5.0, 10.0, 15.0)])  # gaps of 0.6 m
    assert not is_in_wall(row, box(12.2, 6))


def test_a_short_wall_longer_than_any_car_is_one_and_a_van_is_none() -> None:
    assert is_in_wall(face(6, 13.3, 5.1, 2.0), box(10, 6))  # 7.3 m
    assert not is_in_wall(face(6, 12.4, 5.1, 2.0), box(9.2, 6))  # 6.4 m


@pytest.mark.parametrize("has_faces", [True, False])
def test_what_goes_on_above_the_class_is_a_wall_or_a_tree(has_faces: bool) -> None:
    assert is_in_wall(face(9, 11, 5.5, 4.5), box(10, 6), has_faces)


def test_a_crown_above_a_car_does_not_make_it_a_tree() -> None:
    car, crown = face(7.75, 12.25, 5.1, 1.5), face(8, 12, 6.0, 4.5)
    assert not is_in_wall(np.concatenate([car, crown[crown[:, 2] > 2.5]]), box(10, 6))


def test_an_object_without_faces_may_be_part_of_a_plane() -> None:
    assert not is_in_wall(face(5, 17, 5.1, 2.5), box(10, 6), has_faces=False)


def test_without_points_there_is_no_wall() -> None:
    assert not is_in_wall(np.zeros((0, 3)), box(10, 6))
    assert in_walls(np.zeros((5, 3)), np.zeros((0, 9)), np.zeros((0, 3)), np.zeros(0, np.bool_)).shape == (0,)
