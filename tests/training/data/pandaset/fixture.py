"""One small PandaSet sequence in both layouts, written apart from the readers.

The pickles are made by stand-ins for pandas' classes of the versions before 1.3, with which PandaSet was published: a
frame whose ``_data`` holds axes, values and items under "0.14.1".
"""

from __future__ import annotations

import gzip
import json
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

STAMPS_S = (1557539924.5, 1557539924.7, 1557539924.9)
FRAMES = (0, 2, 4)
HEADING_RAD = 0.3
"""Of the vehicle in the world, whose x lies to the right of its heading in PandaSet's frame."""
SPEED_MPS = 5.0
SEMSEG_CLASSES = {"1": "Smoke", "7": "Road", "13": "Car", "30": "Pedestrian"}
VEHICLE_POINTS = np.array(
    [[10.0, 2.0, 0.5, 80], [12.0, -3.0, 1.0, 255], [6.0, 0.0, 0.0, 0], [30.0, 1.0, 1.0, 9]], dtype=np.float64
)
"""x y z and intensity in the vehicle frame, x forward; the last is the PandarGT's."""
SENSORS = np.array([0, 0, 0, 1])
SEMSEG = np.array([13, 30, 7, 1])
TIME_TO_EXPOSURE_S = 0.05


def vehicle_pose(frame: int) -> np.ndarray:
    """(4, 4) ``world_SE3_ego``: on a straight line along the heading, 1 m above the world's origin."""
    c, s = np.cos(HEADING_RAD), np.sin(HEADING_RAD)
    way = SPEED_MPS * 0.1 * frame
    return np.array([[c, -s, 0, way * c], [s, c, 0, way * s], [0, 0, 1, 1], [0, 0, 0, 1]])


def cuboids(frame: int) -> list[dict[str, Any]]:
    """Vehicle frame: a parked car, a truck labelled for each LiDAR, a bird, a person whom the PandarGT alone saw."""
    way = SPEED_MPS * 0.1 * frame
    parked = {"label": "Car", "track": "parked", "center": [10.0 - way, 2.0, 0.5], "size": [4.0, 2.0, 1.5], "yaw": 0.1}
    moving = {"label": "Pickup Truck", "center": [30.0, 1.0, 1.0], "size": [5.5, 2.0, 1.9], "yaw": -0.2}
    return [
        {**parked, "sensor": -1, "sibling": "-"},
        {**moving, "track": "moving-0", "sensor": 0, "sibling": "moving-1"},
        {**moving, "track": "moving-1", "sensor": 1, "sibling": "moving-0"},
        {**parked, "label": "Animals - Bird", "track": "bird", "sensor": -1, "sibling": "-"},
        {**parked, "label": "Pedestrian", "track": "ahead", "sensor": 1, "sibling": "-"},
    ]


def camera_pose(frame: int) -> np.ndarray:
    """(4, 4) ``world_SE3_camera`` at the exposure: 1.5 m ahead and 1 m up on the vehicle, looking ahead."""
    ego_SE3_camera = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])
    pose = vehicle_pose(frame)
    pose[:2, 3] += SPEED_MPS * TIME_TO_EXPOSURE_S * pose[:2, 0]
    return pose @ ego_SE3_camera


INTRINSICS = {"fx": 30.0, "fy": 30.0, "cx": 19.5, "cy": 14.5}


def write_compact(folder: Path) -> None:
    """The layout with .npz clouds and JSON."""
    records = []
    for frame, stamp in zip(FRAMES, STAMPS_S, strict=True):
        path = folder / "lidar" / f"{frame:02d}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path,
            xyz=VEHICLE_POINTS[:, :3].astype(np.float32),
            intensity=VEHICLE_POINTS[:, 3].astype(np.uint8),
            dt=np.zeros(len(SENSORS), np.float32),
            sensor=SENSORS.astype(np.uint8),
            semseg=SEMSEG.astype(np.uint8),
        )
        boxes = [
            {
                **{name: box[name] for name in ("label", "track", "center", "yaw", "sibling")},
                "size_lwh": box["size"],
                "sensor_id": box["sensor"],
            }
            for box in cuboids(frame)
        ]
        _write_json(folder / "boxes" / f"{frame:02d}.json", boxes)
        _write_picture(folder / "camera" / "front_camera" / f"{frame:02d}.jpg")
        camera = np.linalg.inv(camera_pose(frame)) @ vehicle_pose(frame)
        records.append(
            {
                "frame": frame,
                "stamp": stamp,
                "T_world_ego": vehicle_pose(frame).tolist(),
                "cameras": {
                    "front_camera": {
                        "T_cam_from_ego": camera.tolist(),
                        "time_minus_sweep_stamp": TIME_TO_EXPOSURE_S,
                    }
                },
            }
        )
    _write_json(folder / "semseg_classes.json", SEMSEG_CLASSES)
    _write_json(folder / "frames.json", {"intrinsics": {"front_camera": INTRINSICS}, "frames": records})


def write_published(folder: Path) -> None:
    """The layout with gzipped pickles of data frames; points and cuboids in the world."""
    stamps = [STAMPS_S[0] + 0.1 * i for i in range(max(FRAMES) + 1)]
    for frame in FRAMES:
        to_world = vehicle_pose(frame)
        world = VEHICLE_POINTS[:, :3] @ to_world[:3, :3].T + to_world[:3, 3]
        # The rows' names are out of order, and those of the classes in another order.
        index = np.array([5, 3, 9, 1])
        cloud = dict(zip("xyz", world.T, strict=True))
        cloud |= {"i": VEHICLE_POINTS[:, 3], "t": np.full(4, stamps[frame]), "d": SENSORS}
        write_frame(folder / "lidar" / f"{frame:02d}.pkl.gz", cloud, index)
        order = np.argsort(index)
        write_frame(folder / "annotations/semseg" / f"{frame:02d}.pkl.gz", {"class": SEMSEG[order]}, index[order])
        write_frame(folder / "annotations/cuboids" / f"{frame:02d}.pkl.gz", _published_cuboids(frame))
        _write_picture(folder / "camera" / "front_camera" / f"{frame:02d}.jpg")
    numbers = range(len(stamps))
    # PandaSet's frame: x to the right, y forward.
    turned = [vehicle_pose(i) @ _EGO_SE3_PANDASET for i in numbers]
    _write_json(folder / "lidar" / "poses.json", [_pose(matrix) for matrix in turned])
    _write_json(folder / "lidar" / "timestamps.json", stamps)
    _write_json(folder / "annotations/semseg/classes.json", SEMSEG_CLASSES)
    camera = folder / "camera" / "front_camera"
    _write_json(camera / "poses.json", [_pose(camera_pose(i)) for i in numbers])
    _write_json(camera / "timestamps.json", [stamp + TIME_TO_EXPOSURE_S for stamp in stamps])
    _write_json(camera / "intrinsics.json", INTRINSICS)


_EGO_SE3_PANDASET = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def _published_cuboids(frame: int) -> dict[str, np.ndarray]:
    boxes, to_world = cuboids(frame), vehicle_pose(frame)
    centers = np.array([box["center"] for box in boxes]) @ to_world[:3, :3].T + to_world[:3, 3]
    length, width, height = np.array([box["size"] for box in boxes]).T
    return {
        "uuid": np.array([box["track"] for box in boxes], dtype=object),
        "label": np.array([box["label"] for box in boxes], dtype=object),
        # 0 heads along the world's y.
        "yaw": np.array([box["yaw"] for box in boxes]) + HEADING_RAD - np.pi / 2,
        "stationary": np.array([box["sibling"] == "-" for box in boxes]),
        **dict(zip(("position.x", "position.y", "position.z"), centers.T, strict=True)),
        **{"dimensions.x": width, "dimensions.y": length, "dimensions.z": height},
        "cuboids.sibling_id": np.array([box["sibling"] for box in boxes], dtype=object),
        "cuboids.sensor_id": np.array([box["sensor"] for box in boxes]),
    }


def _pose(matrix: np.ndarray) -> dict[str, dict[str, float]]:
    """The quaternion by its definition, for rotations of less than 180°."""
    m = matrix[:3, :3]
    w = np.sqrt(1 + np.trace(m)) / 2
    x, y, z = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]) / (4 * w)
    place = dict(zip("xyz", matrix[:3, 3].tolist(), strict=True))
    return {"position": place, "heading": {"w": float(w), "x": float(x), "y": float(y), "z": float(z)}}


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path)


def write_frame(path: Path, columns: dict[str, np.ndarray], index: np.ndarray | None = None) -> None:
    """A data frame as pandas before 1.3 pickled it: one block for each type of column."""
    with _stand_ins() as (new_index, index_type, range_type, frame_type, manager_type):
        num_rows = len(next(iter(columns.values())))
        rows = (
            _Call(new_index, (range_type, {"start": 0, "stop": num_rows, "step": 1, "name": None}))
            if index is None
            else _Call(new_index, (index_type, {"data": index, "name": None}))
        )
        names = _Call(new_index, (index_type, {"data": np.array(list(columns), dtype=object), "name": None}))
        kinds: dict[str, list[int]] = {}
        for place, values in enumerate(columns.values()):
            kinds.setdefault(values.dtype.str, []).append(place)
        stacked = list(columns.values())
        blocks = [
            {"values": np.stack([stacked[place] for place in places]), "mgr_locs": np.array(places)}
            for places in kinds.values()
        ]
        manager = manager_type()
        manager.state = ([], [], [], {"0.14.1": {"axes": [names, rows], "blocks": blocks}})
        frame = frame_type()
        frame.state = {"_data": manager, "_typ": "dataframe", "_metadata": []}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(pickle.dumps(frame, protocol=4)))


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


@contextmanager
def _stand_ins() -> Iterator[tuple[Any, ...]]:
    """Names of pandas, importable for as long as a frame is pickled; a pandas that is installed is hidden meanwhile."""
    modules: dict[str, types.ModuleType] = {}

    def named(module: str, name: str, made: Any) -> Any:
        made.__module__, made.__qualname__, made.__name__ = module, name, name
        parts = module.split(".")
        for number in range(1, len(parts) + 1):
            parent = ".".join(parts[:number])
            modules.setdefault(parent, types.ModuleType(parent))
        setattr(modules[module], name, made)
        return made

    def stateful() -> type:
        return type("Stateful", (), {"__getstate__": lambda self: self.state})

    made = (
        named("pandas.core.indexes.base", "_new_Index", lambda: None),
        named("pandas.core.indexes.base", "Index", stateful()),
        named("pandas.core.indexes.range", "RangeIndex", stateful()),
        named("pandas.core.frame", "DataFrame", stateful()),
        named("pandas.core.internals.managers", "BlockManager", stateful()),
    )
    with mock.patch.dict(sys.modules, modules):
        yield made
