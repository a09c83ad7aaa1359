from __future__ import annotations

import json

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.io.lane_map import lane_map_from_json, lane_map_json
from lidarloop_core.sample import LaneMap

LINES = (np.array([[0.0, 0, 0], [1, 2, 3]]), np.array([[5.0, 5, 0], [6, 5, 0], [7, 5, 0]]))


@pytest.mark.parametrize("in_intersection", [(), (True, False)])
def test_round_trip(in_intersection: tuple[bool, ...]) -> None:
    lane_map = LaneMap(LINES, ("a", "b"), (np.eye(3)[:, :2],), in_intersection)
    text = json.dumps(lane_map_json(lane_map, "odom"))
    back = lane_map_from_json(json.loads(text), "/lane_map")
    for ours, theirs in zip(LINES, back.centerlines, strict=True):
        np.testing.assert_array_equal(theirs, ours)
    np.testing.assert_array_equal(back.drivable_area[0], np.eye(3)[:, :2])
    assert (back.lane_ids, back.in_intersection) == (("a", "b"), in_intersection)


def test_foreign_json_is_named() -> None:
    with pytest.raises(DatasetError, match="/lane_map holds JSON that is no lane map"):
        lane_map_from_json({"lanes": [{"id": 1}]}, "/lane_map")
