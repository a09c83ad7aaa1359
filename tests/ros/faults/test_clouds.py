"""What is wrong with clouds: content, layout, amount. One node, configured anew for each test."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import PointCloud2, PointField

from lidarloop_core.io.messages import boxes_from_cloud, cloud_message
from lidarloop_core.pointcloud.grid import VoxelLevel
from lidarloop_ros.messages.conversions import message_type
from tests.ros.conftest import Robot
from tests.ros.networks import CLASS_NAMES, HALVED

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
TWO_PILLARS = [
    [5.1, 3.1, 0.0, 10],
    [5.2, 3.2, 0.5, 20],
    [5.3, 3.3, 1.0, 30],
    [-7.5, -9.5, 0, 100],
    [-7.1, -9.1, 1, 200],
]


@pytest.fixture(params=["pillars", "voxels"])
def robot(request: pytest.FixtureRequest, any_robot: Robot, make_model: Callable[..., Path]) -> Robot:
    """Active, with the plain model and the defaults."""
    any_robot.reconfigure(model=str(make_model(on=request.param)))
    return any_robot


def scene(num_points: int = 2000, *, ground_z: float = -1.8, intensity: float | None = None) -> npt.NDArray[np.float64]:
    """Ground all around the LiDAR, and intensities from 0 to 255."""
    rng = np.random.default_rng(0)
    angle, range_m = rng.uniform(0, 2 * np.pi, num_points), rng.uniform(3, 18, num_points)
    brightness = rng.uniform(0, 255, num_points) if intensity is None else np.full(num_points, intensity)
    z = ground_z + rng.normal(0, 0.01, num_points)
    return np.stack([range_m * np.cos(angle), range_m * np.sin(angle), z, brightness], axis=1)


@pytest.mark.fault("not_finite")
def test_many_points_that_are_not_finite_are_warned_of(robot: Robot) -> None:
    nan = float("nan")
    answers = len(robot.box_clouds)
    robot.send(robot.cloud([*TWO_PILLARS, *[[nan, 1, 1, 1]] * 6], T0))
    robot.reported(WARN, "55% of a cloud's points had no finite position")
    robot.wait_for(lambda: len(robot.box_clouds) == answers + 1, "an answer all the same")
    robot.detector.set_parameters({"non_finite_warn_share": 0.6})
    half_of_nothing = [*TWO_PILLARS, *[[nan, 1, 1, 1]] * 6]
    robot.stream_until(
        lambda s: s.level == OK, "an OK", lambda i: robot.cloud(half_of_nothing, T0 + (i + 1) * 100 * MS)
    )


@pytest.mark.fault("intensity")
@pytest.mark.fault("mounting")
def test_intensity_and_mounting_unlike_in_training_are_warned_of(robot: Robot) -> None:
    robot.send(robot.cloud(scene(), T0))
    seen = robot.status_since_send(lambda s: any(v.key == "ground_height_m" for v in s.values), "figures")
    assert "intensity" not in seen.message
    assert "ground" not in seen.message
    assert {v.key: v.value for v in seen.values}["ground_height_m"] in ("1.79", "1.80", "1.81")
    for i, (points, said) in enumerate(
        (
            (scene(intensity=0.0), "intensity is flat, every point has 0"),
            (scene() * [1, 1, 1, 1 / 255], "trained on 0 to 255"),
            (scene() * [1, 1, 1, 257], "points clamped, intensity reaches 65"),
            (scene(ground_z=-0.9), "0.90 m below the LiDAR, the model was trained at 1.80 m"),
        )
    ):
        robot.send(robot.cloud(points, T0 + (i + 1) * 100 * MS))
        robot.reported(WARN, said)
    robot.wait_for(lambda: len(robot.box_clouds) == 5, "an answer to each")


@pytest.mark.fault("wild_values")
@pytest.mark.parametrize("intensity", [1e6, 3e38, -1e9, np.nan, np.inf])
def test_one_wild_intensity_is_warned_of_and_costs_no_box(robot: Robot, intensity: float) -> None:
    _, ordinary = robot.ask(robot.cloud(TWO_PILLARS, T0))
    own = [[12, 12, 1]] if np.isfinite(intensity) else np.empty((0, 3))
    for i in range(1, 4):  # a sensor that repeats it
        _, boxes = robot.ask(robot.cloud([*TWO_PILLARS, [12, 12, 1, intensity]], T0 + i * 100 * MS))
        np.testing.assert_array_equal(boxes.values[:2], ordinary.values)
        np.testing.assert_array_equal(boxes.values[2:, :3], own)
    problem = "1 points clamped, intensity reaches" if np.isfinite(intensity) else "1 points left out, intensity is NaN"
    robot.reported(WARN, problem)


@pytest.mark.fault("wild_values")
def test_points_where_nothing_came_back_are_left_out_and_no_fault(robot: Robot) -> None:
    """As Ouster's drivers write them: (0, 0, 0), and intensity 0."""
    _, expected = robot.ask(robot.cloud(scene(), T0))
    cloud = np.vstack([np.zeros((9000, 4)), scene()])
    seen = robot.stream_until(
        lambda s: s.level == OK and any((v.key, v.value) == ("no_return_share", "0.8182") for v in s.values),
        "an OK with their share",
        lambda i: robot.cloud(cloud, T0 + (i + 1) * 100 * MS),
    )
    assert {v.key: v.value for v in seen.values}["num_points"] == "2000"
    np.testing.assert_array_equal(boxes_from_cloud(robot.box_clouds[-1], CLASS_NAMES)[0].values, expected.values)


@pytest.mark.fault("intensity")
def test_missing_intensity_is_zeros_where_that_is_configured(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    any_robot.reconfigure(model=str(make_model()), missing_intensity="zeros")
    xyz = np.array(TWO_PILLARS, np.float32)
    bare = cloud_message({name: xyz[:, i] for i, name in enumerate("xyz")}, T0, "lidar_top", message_type)
    _, boxes = any_robot.ask(bare)
    np.testing.assert_allclose(boxes.values[:, :3], [[5.2, 3.2, 0.5], [-7.3, -9.3, 0.5]], atol=1e-5)
    np.testing.assert_allclose(boxes.values[:, 8], 0.0)
    any_robot.reported(WARN, "no field intensity, zeros are used")


def unusual_layouts() -> dict[str, PointCloud2]:
    """The same five points, laid out as drivers do it."""
    points = np.array(TWO_PILLARS, np.float32)

    def message(
        dtype: list[tuple[str, str]], *, big: bool = False, rows: int = 1, point_pad: int = 0, row_pad: int = 0
    ) -> PointCloud2:
        layout = np.dtype(dtype).newbyteorder(">" if big else "<")
        names = [name for name, _ in dtype]
        offsets = [layout.fields[name][1] for name in names] if layout.fields else []
        size = layout.itemsize + point_pad
        wide = np.dtype({"names": names, "formats": [layout[n] for n in names], "offsets": offsets,
                         "itemsize": size})  # fmt: skip
        values = np.zeros(5, wide)
        for i, name in enumerate(("x", "y", "z", "intensity")):
            values[name] = points[:, i]
        codes = {"f4": PointField.FLOAT32, "f8": PointField.FLOAT64, "u1": PointField.UINT8, "u2": PointField.UINT16}
        fields = [
            PointField(name=n, offset=o, datatype=codes[layout[n].str[1:]], count=1)
            for n, o in zip(names, offsets, strict=True)
        ]
        width = 5 // rows
        lines = values.tobytes()
        step = width * size
        data = b"".join(lines[r * step : (r + 1) * step] + b"\xff" * row_pad for r in range(rows))
        msg = PointCloud2(height=rows, width=width, fields=fields, is_bigendian=big, point_step=size)
        msg.row_step = step + row_pad
        msg.data = array("B", data)
        msg.header.frame_id = "lidar_top"
        return msg

    usual = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4")]
    return {
        "big-endian": message(usual, big=True),
        "float64 and uint8": message([("x", "f8"), ("y", "f8"), ("z", "f8"), ("intensity", "u1")]),
        "another order, others between": message(
            [("t", "u2"), ("intensity", "u2"), ("z", "f4"), ("ring", "u1"), ("y", "f4"), ("x", "f8")]
        ),
        "padded points": message(usual, point_pad=16),
        "padded rows": message(usual, rows=5, row_pad=13),
    }


@pytest.mark.fault("decodable")
def test_unusual_layouts_give_the_same_boxes(robot: Robot) -> None:
    _, expected = robot.ask(robot.cloud(TWO_PILLARS, T0))
    for i, (name, msg) in enumerate(unusual_layouts().items()):
        msg.header.stamp.sec, msg.header.stamp.nanosec = 1_700_000_000, (i + 1) * 100 * MS
        _, boxes = robot.ask(msg)
        np.testing.assert_allclose(boxes.values, expected.values, atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(boxes.scores, expected.scores, err_msg=name)


def levels(*capacities: int) -> dict[str, Any]:
    """Changes of the spec: voxels that the first level takes, and those below."""
    first, second, last = capacities
    folded = VoxelLevel(last, stride=(1, 1, 1), kernel=(1, 1, 2), padding=(0, 0, 0))
    return {"on": "voxels", "capacity": first, "levels": (VoxelLevel(second, **HALVED), folded)}


@pytest.mark.fault("capacity")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_pillars": 2}, "54 points thinned out: 20 pillars, the model takes 2"),
        (levels(2, 1600, 1600), "54 points thinned out: 20 voxels at level 0, the model takes 2"),
        (levels(1600, 2, 1600), "thinned: 20 voxels at level 1, the model takes 2"),
        (levels(1600, 1600, 2), "thinned: 20 voxels at level 2, the model takes 2"),
    ],
    ids=["pillars", "level 0", "level 1", "level 2"],
)
def test_ten_times_more_than_there_is_room_for(
    any_robot: Robot, make_model: Callable[..., Path], changes: dict[str, Any], said: str
) -> None:
    any_robot.reconfigure(model=str(make_model(**changes)), max_points=1_000)
    pillars = [[4.0 * (i % 10) - 18, 8.0 * (i // 10), 0, 1] for i in range(20) for _ in range(3)]
    _, boxes = any_robot.ask(any_robot.cloud(pillars, T0))
    assert len(boxes) > 0
    any_robot.reported(WARN, said)
    _, boxes = any_robot.ask(any_robot.cloud(np.tile(pillars, (167, 1)), T0 + 100 * MS))
    assert len(boxes) > 0
    any_robot.reported(WARN, "9109 of 10020 points left out")


@pytest.mark.fault("blocked")
def test_a_blocked_view_is_warned_of(robot: Robot) -> None:
    robot.stream_until(lambda s: s.level == OK, "an OK", lambda i: robot.cloud(scene(), T0 + i * 100 * MS))
    robot.send(robot.cloud(scene(150), T0 + 3600_000 * MS))
    robot.reported(WARN, "150 points, usually 2000")
