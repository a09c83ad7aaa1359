from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import DatasetError
from lidarloop_core.sample import LaneMap
from lidarloop_training.data.nuscenes.lane_map import discretize, map_expansion, read_lane_map


def test_quarter_circle_is_a_quarter_circle() -> None:
    piece = {
        "start_pose": [1.0, 2.0, 0.0],
        "shape": "LSR",
        "radius": 10.0,
        "segment_length": [math.pi * 5, 4.0, math.pi * 5],
    }
    line = discretize([piece])
    np.testing.assert_allclose(line[0], [1, 2, 0])
    assert np.abs(line - [11, 12, 0]).sum(axis=1).min() < 1e-9  # end of the left turn: heading +y
    assert np.abs(line - [11, 16, 0]).sum(axis=1).min() < 1e-9  # end of the straight
    np.testing.assert_allclose(line[-1], [21, 26, 0], atol=1e-9)  # and the right turn: heading +x again
    assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() <= 0.5 + 1e-9


@settings(deadline=None)  # the first call imports the devkit
@given(
    shape=st.sampled_from(["LSL", "LSR", "RSL", "RSR", "LRL", "RLR"]),
    radius=st.floats(5, 500),
    lengths=st.tuples(*[st.floats(0.05, 30)] * 3),
    yaw=st.floats(-3, 3),
)
def test_arcs_agree_with_the_devkit(shape: str, radius: float, lengths: tuple[float, float, float], yaw: float) -> None:
    devkit = pytest.importorskip("nuscenes.map_expansion.arcline_path_utils", reason="nuscenes-devkit is not installed")
    piece = {"start_pose": (3.0, -4.0, yaw), "shape": shape, "radius": radius, "segment_length": list(lengths)}
    end = devkit.pose_at_length(piece, sum(lengths))
    np.testing.assert_allclose(discretize([piece])[-1, :2], end[:2], atol=1e-6)


def test_round_trip(tmp_path: Path) -> None:
    turn = np.linspace(0, np.pi / 2, 20)
    curve = np.stack([20 * np.sin(turn), 20 * (1 - np.cos(turn)), 0 * turn], axis=1)
    area = np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 5.0]])
    path = tmp_path / "map.json"
    path.write_text(json.dumps(map_expansion(LaneMap((curve,), ("a",), (area,)), "town")))
    read = read_lane_map(path)
    np.testing.assert_allclose(read.drivable_area[0], area)
    (line,) = read.centerlines
    for corner in curve:  # every vertex of the polyline is on the line that is read
        assert np.linalg.norm(line - corner, axis=1).min() < 1e-9
    assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("in_intersection", [(), (False, True)])
def test_lanes_across_intersections_are_connectors(tmp_path: Path, in_intersection: tuple[Any, ...]) -> None:
    lines = (np.array([[0.0, 0, 0], [9.0, 0, 0]]), np.array([[9.0, 0, 0], [15.0, 6, 0]]))
    path = tmp_path / "map.json"
    raw = map_expansion(LaneMap(lines, ("street", "crossing"), (), in_intersection), "town")
    path.write_text(json.dumps(raw))
    assert read_lane_map(path).in_intersection == in_intersection
    assert len(raw["lane_connector"]) == sum(in_intersection)
    assert raw["connectivity"][next(iter(raw["arcline_path_3"]))]["outgoing"] == list(raw["arcline_path_3"])[1:]


def test_old_or_broken_maps_are_named(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(DatasetError, match=r"map\.json.*1\.0.*1\.3"):
        read_lane_map(path)
    path.write_text("{")
    with pytest.raises(DatasetError, match=r"map\.json"):
        read_lane_map(path)
