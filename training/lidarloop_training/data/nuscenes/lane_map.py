"""Lane maps to and from the nuScenes map expansion (version 1.3).

That format keeps a lane's centre line as a chain of arc-line paths: a start pose, three segments that each turn left,
turn right or go straight, and their common radius (the shape of a Dubins path). A polyline of ours is a chain of
straight ones. The format is flat: heights are dropped when writing and zero when reading. Lanes across an intersection
are its lane connectors.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import outside
from lidarloop_core.sample import LaneMap
from lidarloop_training.data.nuscenes.tables import token

LANE_WIDTH_M = 3.5
"""Width of the lane polygons we write: a ``LaneMap`` has centre lines only."""

STEP_M = 0.5
MOST_SEGMENT_M = 10_000.0
"""Longest piece of a lane that is believed; each is followed in steps of ``STEP_M``."""
"""Spacing of the points a centre line is read as."""

_JOINED_WITHIN_M = 0.5
_EMPTY_LAYERS = (
    "road_segment", "road_block", "ped_crossing", "walkway", "stop_line", "carpark_area",
    "road_divider", "lane_divider", "traffic_light",
)  # fmt: skip


def map_expansion(lane_map: LaneMap, name: str) -> dict[str, Any]:
    """The map's JSON object with every layer the devkit's ``NuScenesMap`` asks for.

    Args:
        lane_map: centre lines and drivable polygons in the world frame.
        name: the map's name: tokens are derived from it.
    """
    layers = _Layers(name)
    lanes: list[dict[str, Any]] = []
    connectors: list[dict[str, Any]] = []
    paths: dict[str, list[dict[str, Any]]] = {}
    crossings = lane_map.in_intersection or (False,) * len(lane_map.lane_ids)
    for lane_id, line, crosses in zip(lane_map.lane_ids, lane_map.centerlines, crossings, strict=True):
        lane_token = token(name, "lane", lane_id)
        paths[lane_token] = _straight_paths(line[:, :2])
        outline = _ribbon(line[:, :2], LANE_WIDTH_M)
        polygon_token = layers.polygon(f"lane/{lane_id}", outline)
        if crosses:
            connectors.append({"token": lane_token, "polygon_token": polygon_token})
            continue
        half = len(line)
        lanes.append(
            {
                "token": lane_token,
                "polygon_token": polygon_token,
                "lane_type": "CAR",
                "from_edge_line_token": layers.line(f"from/{lane_id}", outline[[0, -1]]),
                "to_edge_line_token": layers.line(f"to/{lane_id}", outline[[half - 1, half]]),
                "left_lane_divider_segments": [],
                "right_lane_divider_segments": [],
            }
        )
    areas = [
        {
            "token": token(name, "drivable_area", i),
            "polygon_tokens": [layers.polygon(f"drivable_area/{i}", polygon)],
        }
        for i, polygon in enumerate(lane_map.drivable_area)
    ]
    extent = np.concatenate([line[:, :2] for line in lane_map.centerlines] or [np.ones((1, 2))]).max(axis=0)
    return {
        "version": "1.3",
        "canvas_edge": [max(1.0, float(edge)) for edge in extent],
        "polygon": layers.polygons,
        "line": layers.lines,
        "node": layers.nodes,
        "drivable_area": areas,
        "lane": lanes,
        "lane_connector": connectors,
        **{layer: [] for layer in _EMPTY_LAYERS},
        "arcline_path_3": paths,
        "connectivity": _connectivity(list(paths), lane_map.centerlines),
    }


def read_lane_map(path: Path) -> LaneMap:
    """Centre lines of lanes and lane connectors, every ``STEP_M``, and the drivable polygons' outlines.

    Raises:
        DatasetError: no map expansion of version 1.3.
    """
    try:
        raw = outside.read_json(path)
        if raw["version"] < "1.3":
            raise DatasetError(f"{path}: received map expansion {raw['version']}; expected 1.3: get the newer map pack")
        nodes = {node["token"]: (node["x"], node["y"]) for node in raw["node"]}
        outlines = {polygon["token"]: polygon["exterior_node_tokens"] for polygon in raw["polygon"]}
        areas = tuple(
            np.array([nodes[node] for node in outlines[polygon]])
            for area in raw["drivable_area"]
            for polygon in area["polygon_tokens"]
        )
        lanes = {lane: discretize(pieces) for lane, pieces in raw["arcline_path_3"].items() if pieces}
        connectors = {lane["token"] for lane in raw["lane_connector"]}
    except DatasetError:
        raise
    except (ValueError, ArithmeticError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}: no nuScenes map expansion 1.3 ({type(error).__name__}: {error}); restore the file"
        ) from None
    in_intersection = tuple(lane in connectors for lane in lanes) if connectors else ()
    return LaneMap(tuple(lanes.values()), tuple(lanes), areas, in_intersection)


def discretize(pieces: list[dict[str, Any]], step_m: float = STEP_M) -> npt.NDArray[np.float64]:
    """A chain of arc-line paths as a polyline.

    Args:
        pieces: ``start_pose`` (x, y, yaw), ``shape`` (three letters L, R or S), ``radius`` and three
            ``segment_length``, in metres and radians.
        step_m: largest distance between neighbouring points.

    Returns:
        (K, 3) metres, z = 0, in driving direction; where one piece ends and the next begins there is one point.
    """
    points: list[tuple[float, float, float]] = []
    for piece in pieces:
        x, y, yaw = piece["start_pose"]
        if not points or math.hypot(points[-1][0] - x, points[-1][1] - y) > 1e-6:
            points.append((x, y, 0.0))
        for turn, length in zip(piece["shape"], piece["segment_length"], strict=True):
            if not 0 <= length <= MOST_SEGMENT_M:
                raise ValueError(f"a segment of {length} m")
            curvature = {"L": 1.0, "R": -1.0, "S": 0.0}[turn] / piece["radius"]
            num_steps = math.ceil(length / step_m - 1e-9)
            for i in range(1, num_steps + 1):
                points.append((*_along_arc(x, y, yaw, curvature, length * i / num_steps), 0.0))
            if num_steps > 0:
                x, y = points[-1][:2]
                yaw += curvature * length
    return np.array(points, dtype=np.float64)


def _along_arc(x: float, y: float, yaw: float, curvature: float, distance: float) -> tuple[float, float]:
    """Where a car is that started at (x, y) with this heading and drove along a circle (or straight: curvature 0)."""
    if curvature == 0.0:
        return x + distance * math.cos(yaw), y + distance * math.sin(yaw)
    end = yaw + curvature * distance
    return x + (math.sin(end) - math.sin(yaw)) / curvature, y - (math.cos(end) - math.cos(yaw)) / curvature


class _Layers:
    """The geometric layers while they are being filled: nodes, lines, polygons."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.nodes: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.polygons: list[dict[str, Any]] = []

    def polygon(self, what: str, outline: npt.NDArray[np.float64]) -> str:
        own_token = token(self._name, "polygon", what)
        nodes = self._nodes(what, outline)
        self.polygons.append({"token": own_token, "exterior_node_tokens": nodes, "holes": []})
        return own_token

    def line(self, what: str, points: npt.NDArray[np.float64]) -> str:
        own_token = token(self._name, "line", what)
        self.lines.append({"token": own_token, "node_tokens": self._nodes(what, points)})
        return own_token

    def _nodes(self, what: str, points: npt.NDArray[np.float64]) -> list[str]:
        tokens = [token(self._name, "node", what, i) for i in range(len(points))]
        self.nodes += [{"token": t, "x": float(p[0]), "y": float(p[1])} for t, p in zip(tokens, points, strict=True)]
        return tokens


def _ribbon(line: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.float64]:
    """(2K, 2) outline of a band round a (K, 2) polyline: the left side forwards, then the right side backwards."""
    heading = np.gradient(line, axis=0)
    heading /= np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-9)
    left = np.stack([-heading[:, 1], heading[:, 0]], axis=1) * width / 2
    return np.concatenate([line + left, (line - left)[::-1]])


def _straight_paths(line: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    paths = []
    for (x0, y0), (x1, y1) in zip(line[:-1].tolist(), line[1:].tolist(), strict=True):
        length, yaw = math.hypot(x1 - x0, y1 - y0), math.atan2(y1 - y0, x1 - x0)
        if length == 0.0:
            continue
        paths.append(
            {
                "start_pose": [x0, y0, yaw],
                "end_pose": [x1, y1, yaw],
                "shape": "LSL",
                "radius": 999.999,  # of turns of length zero: the devkit divides by it
                "segment_length": [0.0, length, 0.0],
            }
        )
    return paths


def _connectivity(tokens: list[str], lines: tuple[npt.NDArray[np.float64], ...]) -> dict[str, dict[str, list[str]]]:
    """Which lane follows which: where the end of one is the start of the other."""
    links: dict[str, dict[str, list[str]]] = {t: {"incoming": [], "outgoing": []} for t in tokens}
    starts = np.array([line[0, :2] for line in lines]).reshape(-1, 2)
    for lane, line in zip(tokens, lines, strict=True):
        for i in np.flatnonzero(np.linalg.norm(starts - line[-1, :2], axis=1) < _JOINED_WITHIN_M):
            links[lane]["outgoing"].append(tokens[i])
            links[tokens[i]]["incoming"].append(lane)
    return links
