"""Front and back of standing vehicles, on profiles and roads that are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.labelling.refining.fronts import Road, profile_log_odds, with_fronts
from lidarloop_core.labelling.refining.points import Looks
from lidarloop_core.labelling.refining.tracks import Track

SIZE = np.array([4.4, 1.8, 1.5])
NO_LOOK = Looks(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros((5, 2)))
EASTWARD = Road.of(np.column_stack([np.linspace(0, 40, 21), np.zeros(21)]))
IS_VEHICLE = np.ones(1, np.bool_)


def track(x: float, y: float, yaw: float = 0.0, speed_mps: float = 0.0, num_frames: int = 5) -> Track:
    """A car that stands, or drives along its heading."""
    values = np.tile([x, y, 0.75, *SIZE, yaw, 0.0, 0.0], (num_frames, 1))
    velocity = speed_mps * np.array([np.cos(yaw), np.sin(yaw)])
    values[:, :2] += 0.2 * np.arange(num_frames)[:, None] * velocity
    values[:, 7:9] = velocity
    frames = np.arange(num_frames)
    return Track(frames, frames, 0, 1.0, speed_mps == 0, values, np.zeros(num_frames, np.bool_), 3.0)


def side_view(tops: tuple[float, ...], u: npt.NDArray[np.float64]) -> Looks:
    """Points of a side whose height follows a profile given from back to front, relative to the box's middle."""
    z = np.interp(u, np.linspace(-2.2, 2.2, len(tops)), tops) - 0.75
    points = np.column_stack([u, np.full(len(u), -0.85), z])
    return Looks(points, np.zeros(len(u), np.int64), np.zeros((1, 2)))


def voted(*tracks: Track, looks: list[Looks] | None = None, road: Road = EASTWARD, known: bool = False) -> list[Track]:
    return with_fronts(tracks, looks or [NO_LOOK] * len(tracks), road, IS_VEHICLE, np.full(len(tracks), known))


def test_a_bonnet_is_lower_than_a_tailgate_and_a_mirrored_profile_turns_the_sign() -> None:
    u = np.linspace(-2.15, 2.15, 200)
    hatchback = (1.2, 1.45, 1.5, 1.45, 1.0, 0.8)
    forward, backward = (profile_log_odds(side_view(tops, u), SIZE) for tops in (hatchback, hatchback[::-1]))
    assert forward > 1.0
    assert forward == pytest.approx(-backward, abs=0.2)


def test_a_box_van_and_half_a_car_tell_nothing() -> None:
    u = np.linspace(-2.15, 2.15, 200)
    assert profile_log_odds(side_view((1.5, 1.5), u), SIZE) == pytest.approx(0.0, abs=1e-9)
    assert profile_log_odds(side_view((1.4, 0.8), u[u > 0]), SIZE) == 0.0
    assert profile_log_odds(NO_LOOK, SIZE) == 0.0


@pytest.mark.parametrize(("y", "yaw"), [(-4.0, 0.0), (4.0, np.pi), (0.0, 0.0)])
@pytest.mark.parametrize("given", [0.0, np.pi])
def test_cars_stand_as_their_side_of_the_road_drives(y: float, yaw: float, given: float) -> None:
    (found,) = voted(track(10, y, given))
    assert np.cos(found.values[:, 6]) == pytest.approx(np.full(5, np.cos(yaw)))
    assert found.front_is_sure


def test_where_traffic_keeps_to_the_left_it_is_the_other_way_round() -> None:
    left = Road.of(np.column_stack([np.linspace(0, 40, 21), np.zeros(21)]), drives_right=False)
    (found,) = voted(track(10, -4.0, 0.0), road=left)
    assert np.cos(found.values[0, 6]) == pytest.approx(-1.0)


def test_across_the_road_far_from_it_or_without_a_road_the_heading_stays_and_is_unsure() -> None:
    nowhere = Road.of(np.zeros((5, 2)))
    for car, road in ((track(10, -4, np.pi / 2), EASTWARD), (track(10, -20), EASTWARD), (track(10, -4), nowhere)):
        (found,) = voted(car, road=road)
        assert not found.front_is_sure
        np.testing.assert_array_equal(found.values, car.values)


def test_traffic_beside_outweighs_the_far_side_of_the_road() -> None:
    found, _ = voted(track(10, 6, np.pi), track(8, 3.5, 0.0, 5.0))  # a one-way street of two lanes
    assert np.cos(found.values[0, 6]) == pytest.approx(1.0)


def test_a_car_without_a_profile_follows_its_row() -> None:
    u = np.linspace(-2.15, 2.15, 200)
    look = side_view((1.2, 1.45, 1.5, 1.45, 1.0, 0.8), u)
    row = [track(10, -4, np.pi), track(16, -4), track(4, -4)]
    found = voted(*row, looks=[NO_LOOK, look, look], road=Road.of(np.zeros((5, 2))))
    assert [np.cos(one.values[0, 6]) for one in found] == pytest.approx([1.0, 1.0, 1.0])
    assert found[0].front_is_sure


def test_what_moves_and_what_a_lane_gave_stays() -> None:
    driving, parked = track(10, 4, 0.0, 5.0), track(10, -4, np.pi)
    assert voted(driving)[0] is driving
    assert voted(parked, known=True)[0] is parked
