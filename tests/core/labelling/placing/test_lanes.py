from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, Point, Polygon

from lidarloop_core.geometry.boxes import wrap_angle
from lidarloop_core.labelling.placing.lanes import RIVAL_MARGIN_M, LaneLookup
from lidarloop_core.sample import LaneMap

coordinates = st.floats(-30, 30).map(lambda x: round(x, 2))
polylines = st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=6, unique=True)


def _map(*lines: list[tuple[float, float]], **fields: Any) -> LaneMap:
    with_height = tuple(np.column_stack([np.array(line, np.float64), np.zeros(len(line))]) for line in lines)
    return LaneMap(with_height, tuple(f"lane-{i}" for i in range(len(lines))), **fields)


def _street(y: float, *, westwards: bool = False) -> list[tuple[float, float]]:
    return [(50.0, y), (-50.0, y)] if westwards else [(-50.0, y), (50.0, y)]


@pytest.mark.filterwarnings("ignore:.*encountered in distance")
@settings(max_examples=60, deadline=None)
@given(lines=st.lists(polylines, min_size=1, max_size=4), place=st.tuples(coordinates, coordinates))
def test_nearest_point_is_the_nearest_of_all_segments(
    lines: list[list[tuple[float, float]]], place: tuple[float, float]
) -> None:
    found = LaneLookup(_map(*lines)).nearest(np.array([place]))
    distances = [LineString(line).distance(Point(place)) for line in lines]
    np.testing.assert_allclose(found.distance_m[0], min(distances), atol=1e-9)
    assert distances[found.lane[0]] <= min(distances) + 1e-9
    # The direction is that of a segment which comes as near as that.
    line = np.array(lines[found.lane[0]])
    segments = [LineString(pair) for pair in pairwise(line)]
    near = [s.distance(Point(place)) <= min(distances) + 1e-9 for s in segments]
    yaws = np.arctan2(*np.diff(line, axis=0)[near].T[::-1])
    assert np.abs(wrap_angle(yaws - found.yaw[0])).min() < 1e-9


def test_long_segments_are_measured_between_their_ends() -> None:
    found = LaneLookup(_map([(0, 0), (1000, 1000)])).nearest(np.array([[500.0, 498.0]]))
    np.testing.assert_allclose(found.distance_m, np.sqrt(2), atol=1e-9)
    np.testing.assert_allclose(found.yaw, np.pi / 4)


def test_repeated_vertices_do_no_harm() -> None:
    found = LaneLookup(_map([(0, 0), (0, 0), (10, 0), (10, 0)])).nearest(np.array([[4.0, 1.0], [13.0, 4.0]]))
    np.testing.assert_allclose(found.distance_m, [1.0, 5.0])
    np.testing.assert_allclose(found.yaw, 0.0, atol=1e-12)


@pytest.mark.parametrize("lane_map", [LaneMap((), ()), LaneMap((), (), (np.eye(3)[:, :2],))])
def test_a_map_without_lanes_gives_no_heading(lane_map: LaneMap) -> None:
    places = np.array([[3.0, 4.0], [0.0, 0.0]])
    found, heading = LaneLookup(lane_map).nearest(places), LaneLookup(lane_map).heading(places)
    assert np.isnan(found.yaw).all()
    assert np.isinf(found.distance_m).all()
    assert (found.lane == -1).all()
    assert np.isnan(heading.yaw).all()
    assert not heading.certain.any()


def test_no_places_give_no_answers() -> None:
    lookup = LaneLookup(_map(_street(0.0)))
    assert len(lookup.nearest(np.zeros((0, 3))).yaw) == len(lookup.heading(np.zeros((0, 2))).yaw) == 0


def test_of_oncoming_lanes_the_nearer_gives_the_front() -> None:
    lookup = LaneLookup(_map(_street(-1.75), _street(1.75, westwards=True)))
    found = lookup.heading(np.array([[3.0, -1.2], [3.0, 1.2], [3.0, 4.0]]))
    np.testing.assert_allclose(np.cos(found.yaw), [1, -1, -1])
    np.testing.assert_allclose(found.agreement, 1.0)
    assert found.certain.all()


def test_on_a_crossing_the_road_that_most_lanes_follow_decides() -> None:
    through = [_street(y) for y in (-5.25, -1.75)] + [_street(y, westwards=True) for y in (1.75, 5.25)]
    turn = [(1.5, -20.0), (1.5, -1.0), (-6.0, 6.5)]
    lookup = LaneLookup(_map(*through, turn, in_intersection=(True,) * 5))
    place = np.array([[1.3, -2.9]])
    assert lookup.nearest(place).lane[0] == 4
    found = lookup.heading(place)
    assert found.lane[0] == 1
    assert found.in_intersection[0]
    # The shape of the points knows better than the other lanes, and the lane knows the front.
    turning = lookup.heading(place, np.array([-np.pi / 2]))
    assert turning.lane[0] == 4
    np.testing.assert_allclose(turning.yaw, np.pi / 2)
    assert turning.agreement[0] < found.agreement[0]
    assert not turning.certain[0]
    assert lookup.heading(place, np.array([np.nan])).lane[0] == 1


def test_rivals_are_not_far_off() -> None:
    lookup = LaneLookup(_map([(0, -20), (0, 20)], *[_street(y) for y in (RIVAL_MARGIN_M + 1, RIVAL_MARGIN_M + 2)]))
    found = lookup.heading(np.array([[0.5, 0.0]]), np.array([0.0]))
    assert found.lane[0] == 0


def test_intersections_are_those_that_the_map_marks() -> None:
    lane_map = _map(_street(0.0), [(50, 0), (60, 10)], in_intersection=(False, True))
    found = LaneLookup(lane_map).heading(np.array([[0.0, 1.0], [58.0, 7.0]]))
    assert found.in_intersection.tolist() == [False, True]


@pytest.mark.filterwarnings("ignore:.*encountered in distance")
@settings(max_examples=60, deadline=None)
@given(
    corners=st.lists(st.tuples(st.floats(1, 20), st.floats(0, 6.2)), min_size=3, max_size=8),
    place=st.tuples(coordinates, coordinates),
)
def test_on_road_is_inside_the_drivable_area(corners: list[tuple[float, float]], place: tuple[float, float]) -> None:
    star = np.array([(r * np.cos(a), r * np.sin(a)) for r, a in sorted(corners, key=lambda corner: corner[1])])
    polygon = Polygon(star)
    found = LaneLookup(_map(_street(0.0), drivable_area=(star,))).heading(np.array([place]))
    if polygon.is_valid and polygon.boundary.distance(Point(place)) > 1e-6:
        assert found.on_road[0] == polygon.contains(Point(place))


def test_turning_and_moving_the_world_turns_and_moves_the_answers() -> None:
    rng = np.random.default_rng(0)
    lines = [rng.uniform(-40, 40, (4, 2)) for _ in range(8)]
    places = rng.uniform(-40, 40, (50, 2))
    yaw, shift = 0.7, np.array([4000.0, -900.0])
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    here = LaneLookup(_map(*lines)).heading(places)
    there = LaneLookup(_map(*[line @ turn.T + shift for line in lines])).heading(places @ turn.T + shift)
    np.testing.assert_array_equal(there.lane, here.lane)
    np.testing.assert_allclose(wrap_angle(there.yaw - here.yaw - yaw), 0, atol=1e-6)
    np.testing.assert_allclose(there.agreement, here.agreement, atol=1e-6)


@pytest.mark.real
def test_lanes_give_the_yaw_of_labelled_vehicles(real_data: Path) -> None:
    from lidarloop_training.data.av2.reader import Av2Source

    source = Av2Source(real_data / "av2" / "sensor", cameras=False)
    lookup = LaneLookup(source[0].lane_map)
    off_rad = []
    for stamp, (_, pose, labels) in enumerate(source.labelled_stamps()):
        if stamp % 20 == 0:
            boxes = labels.boxes[np.isin(labels.boxes.names, ("car", "truck", "bus")) & (labels.num_lidar_pts > 0)]
            centers = pose.transform(boxes.centers.astype(np.float64))
            found = lookup.heading(centers)
            near = found.certain & (lookup.nearest(centers).distance_m < 3.0)
            forward = pose.rotate(np.column_stack([np.cos(boxes.yaws), np.sin(boxes.yaws), np.zeros(len(boxes))]))
            off_rad.append(wrap_angle(found.yaw - np.arctan2(forward[:, 1], forward[:, 0]))[near])
    off_deg = np.degrees(np.abs(np.concatenate(off_rad)))
    assert len(off_deg) > 150
    assert (off_deg < 15).mean() > 0.93, "front and back told apart, too"
    assert np.median(off_deg) < 1.0
