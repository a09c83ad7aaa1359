"""Against the real sample, and against logs that these tests write in Argoverse 2's published schema."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm, logm
from scipy.spatial.transform import Rotation

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import encode_jpeg
from lidarloop_training.data.av2.classes import AV2_CATEGORIES, AV2_TO_NUSCENES, AV2_TO_WAYMO
from lidarloop_training.data.av2.lane_map import STEP_M, midline
from lidarloop_training.data.av2.reader import Av2Source
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: Argoverse 2's files are feather")
from pyarrow import feather  # noqa: E402

FIRST_NS = 315_966_265_000_000_000
PERIOD_NS = 100_000_000


@pytest.mark.real
def test_every_real_cuboid_holds_its_points(real_data: Path) -> None:
    source = Av2Source(real_data / "av2", own_classes=True)
    assert len(source) == 3  # two logs, in two layouts
    for sample in map(source.__getitem__, range(len(source))):
        annotations = sample.annotations
        counted = points_in_boxes(sample.keyframe.points, annotations.boxes.values).sum(axis=1)
        told = annotations.num_lidar_pts
        within = np.abs(counted - told) <= 0.1 * told
        print(f"{sample.token}: {len(told)} cuboids, {within.mean():.1%} within 10 % of num_interior_pts")
        assert (counted[told > 0] > 0).all()
        assert within.mean() >= 0.99
        assert sample.keyframe.points[:, 3].max() <= 255


@pytest.mark.real
def test_real_lanes_lie_under_the_ego(real_data: Path) -> None:
    source = Av2Source(real_data / "av2", num_sweeps=3)
    assert [len(source[i].sweeps) for i in range(3)] == [1, 2, 1]
    for sample in map(source.__getitem__, range(len(source))):
        pose = sample.keyframe.world_SE3_ego
        nearest = []
        for line in sample.lane_map.centerlines:
            assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() <= STEP_M * 1.01
            i = np.linalg.norm(line[:-1, :2] - pose.translation[:2], axis=1).argmin()
            heading = line[i + 1] - line[i]
            offset = np.linalg.norm(line[i, :2] - pose.translation[:2])
            nearest.append((offset, abs(line[i, 2] - pose.translation[2]), heading / np.linalg.norm(heading)))
        offset, height, _ = min(nearest, key=lambda lane: lane[0])
        assert offset < 1.75
        assert height < 0.6
        # Among the lanes near by is one in the direction of travel.
        assert max(direction @ pose.rotation[:, 0] for near, _, direction in nearest if near < 1.75) > 0.95


@pytest.mark.real
def test_real_log_survives_the_bag(real_data: Path, tmp_path: Path) -> None:
    source = Av2Source(real_data / "av2" / "sensor")
    read = BagSource(write_bag(source, tmp_path / "av2.mcap"))
    assert len(read) == len(source) == 2
    for i in range(2):
        np.testing.assert_array_equal(read[i].keyframe.points, source[i].keyframe.points)
        np.testing.assert_array_equal(read[i].annotations.boxes.values, source[i].annotations.boxes.values)
        np.testing.assert_allclose(
            read[i].keyframe.world_SE3_ego.matrix, source[i].keyframe.world_SE3_ego.matrix, atol=1e-9
        )


# ---- logs written here, field by field as published -----------------------------------------------------------------

CITY_SE3_EGO = [SE3.from_yaw(0.4 + 0.02 * i, (5000.0 + 0.8 * i, 2400.0 + 0.3 * i, 60.0)) for i in range(4)]
CAR_IN_CITY = np.array([[5012.0 + 0.5 * i, 2406.0, 61.0] for i in range(4)])  # 5 m/s to the east


def _write(path: Path, columns: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pyarrow.table(columns), path)


def _pose_columns(poses: list[SE3]) -> dict:
    wxyz = np.roll([Rotation.from_matrix(p.rotation).as_quat() for p in poses], 1, axis=1)
    named = {f"q{axis}": wxyz[:, i] for i, axis in enumerate("wxyz")}
    return named | {f"t{axis}_m": np.array([p.translation[i] for p in poses]) for i, axis in enumerate("xyz")}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "val" / "log-a"
    stamps = FIRST_NS + PERIOD_NS * np.arange(4)
    for i, stamp in enumerate(stamps):
        xyz = np.array([[10.0 + i, -2.0, 0.5], [30.0, 4.0, 1.0]], dtype=np.float16)
        _write(
            folder / "sensors" / "lidar" / f"{stamp}.feather",
            {
                **{axis: xyz[:, k] for k, axis in enumerate("xyz")},
                "intensity": np.array([7, 255], np.uint8),
                "laser_number": np.array([0, 63], np.uint8),
                "offset_ns": np.array([0, 99_000_000], np.int32),
            },
        )
    _write(folder / "city_SE3_egovehicle.feather", {"timestamp_ns": stamps, **_pose_columns(CITY_SE3_EGO)})
    cars = [pose.inverse().transform(CAR_IN_CITY[i : i + 1])[0] for i, pose in enumerate(CITY_SE3_EGO)]
    in_ego = [SE3.from_yaw(-pose.yaw_rad, car) for pose, car in zip(CITY_SE3_EGO, cars, strict=True)]
    poses = [*in_ego, SE3.from_yaw(-1.2, (4.0, 5.0, 0.2)), SE3.identity()]
    _write(
        folder / "annotations.feather",
        {
            "timestamp_ns": np.array([*stamps, stamps[1], stamps[1]]),
            "track_uuid": ["car-1"] * 4 + ["dog-1", "rider-1"],
            "category": ["REGULAR_VEHICLE"] * 4 + ["DOG", "BICYCLIST"],
            **{f"{name}_m": np.full(6, size) for name, size in (("length", 4.5), ("width", 1.9), ("height", 1.6))},
            **_pose_columns(poses),
            "num_interior_pts": np.array([3, 4, 5, 6, 1, 0]),
        },
    )
    return folder


def test_cuboids_by_hand(log: Path) -> None:
    source = Av2Source(log.parent, num_sweeps=2)
    sample = source[1]
    assert (sample.token, sample.scene) == (f"log-a-{FIRST_NS + PERIOD_NS}", "log-a")
    assert [sweep.stamp_ns for sweep in sample.sweeps] == [FIRST_NS + PERIOD_NS, FIRST_NS]
    np.testing.assert_array_equal(sample.keyframe.points, [[11.0, -2.0, 0.5, 7, 0], [30.0, 4.0, 1.0, 255, 63]])
    np.testing.assert_array_equal(sample.keyframe.ego_SE3_lidar.matrix, np.eye(4))
    np.testing.assert_allclose(sample.keyframe.world_SE3_ego.matrix, CITY_SE3_EGO[1].matrix, atol=1e-12)
    boxes = sample.annotations.boxes
    assert (boxes.names, boxes.class_names) == (["car"], NUSCENES_CLASSES)  # nuScenes boxes neither dogs nor riders
    assert sample.annotations.instance_ids == ("car-1",)
    assert sample.annotations.num_lidar_pts.tolist() == [4]
    yaw = CITY_SE3_EGO[1].yaw_rad
    np.testing.assert_allclose(boxes.dimensions[0], [4.5, 1.9, 1.6])
    np.testing.assert_allclose(boxes.yaws[0], -yaw, atol=1e-6)
    np.testing.assert_allclose(boxes.velocities[0], 5.0 * np.array([np.cos(yaw), -np.sin(yaw)]), atol=1e-5)
    first = source[0].annotations.boxes  # at the end of a track the difference of one side
    np.testing.assert_allclose(np.linalg.norm(first.velocities[0]), 5.0, atol=1e-5)


def test_labels_of_stamps_without_a_sweep(log: Path) -> None:
    (log / "sensors" / "lidar" / f"{FIRST_NS + 2 * PERIOD_NS}.feather").unlink()
    source = Av2Source(log.parent)
    found = list(source.labelled_stamps())
    assert len(source) == 3
    assert [stamp_ns for stamp_ns, _, _ in found] == [FIRST_NS + i * PERIOD_NS for i in range(4)]
    for (_, pose, labels), car in zip(found, CAR_IN_CITY, strict=True):
        assert labels.boxes.names == ["car"]
        np.testing.assert_allclose(pose.transform(labels.boxes.centers.astype(np.float64)), [car], atol=1e-4)


def test_own_classes(log: Path) -> None:
    boxes = Av2Source(log, own_classes=True)[1].annotations.boxes
    assert boxes.names == ["REGULAR_VEHICLE", "DOG", "BICYCLIST"]
    assert boxes.class_names == AV2_CATEGORIES
    assert np.isnan(boxes.velocities[1:]).all()  # seen once
    np.testing.assert_allclose(boxes.values[1, [0, 1, 2, 6]], [4.0, 5.0, 0.2, -1.2], atol=1e-6)


def test_pictures_of_the_ring(log: Path) -> None:
    stamp = FIRST_NS + PERIOD_NS + 20_000_000
    folder = log / "sensors" / "cameras" / "ring_front_center"
    folder.mkdir(parents=True)
    pixels = np.full((8, 6, 3), 90, np.uint8)
    (folder / f"{stamp}.jpg").write_bytes(encode_jpeg(pixels).data)
    lens = {"fx_px": [50.0], "fy_px": [51.0], "cx_px": [3.0], "cy_px": [4.0], "k1": [-0.2], "k2": [0.0], "k3": [0.0]}
    size = {"height_px": np.array([8], np.uint16), "width_px": np.array([6], np.uint16)}
    _write(log / "calibration" / "intrinsics.feather", {"sensor_name": ["ring_front_center"], **lens, **size})
    mounting = SE3(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([1.6, 0.0, 1.4]))
    columns = {"sensor_name": ["ring_front_center"], **_pose_columns([mounting])}
    _write(log / "calibration" / "egovehicle_SE3_sensor.feather", columns)
    source = Av2Source(log)
    assert source[3].cameras == ()  # the only picture is too old
    (image,) = source[1].cameras
    assert (image.name, image.stamp_ns, image.width, image.height) == ("RING_FRONT_CENTER", stamp, 6, 8)
    np.testing.assert_array_equal(image.intrinsics, [[50, 0, 3], [0, 51, 4], [0, 0, 1]])
    np.testing.assert_allclose(image.ego_SE3_camera.matrix, mounting.matrix, atol=1e-12)
    # A fifth of the way from one pose to the next, at constant velocity and turning.
    before, after = (source[i].keyframe.world_SE3_ego.matrix for i in (1, 2))
    expected = before @ expm(0.2 * logm(np.linalg.inv(before) @ after))
    np.testing.assert_allclose(image.world_SE3_ego.matrix, expected, atol=1e-9)
    np.testing.assert_allclose(image.world_SE3_ego.yaw_rad, 0.424, atol=1e-9)
    assert image.load().shape == (8, 6, 3)
    assert Av2Source(log, cameras=False)[1].cameras == ()


def test_unlabelled_logs_and_pickling(log: Path) -> None:
    (log / "annotations.feather").unlink()
    sample = pickle.loads(pickle.dumps(Av2Source(log)))[2]
    assert sample.annotations is None
    assert sample.lane_map is None
    assert list(Av2Source(log).labelled_stamps()) == []


def test_map_by_hand(log: Path) -> None:
    def line(*points: Any) -> list[dict[str, int]]:
        return [dict(zip("xyz", point, strict=True)) for point in points]

    lane = {
        "left_lane_boundary": line((0, 4, 1), (10, 4, 1)),
        "right_lane_boundary": line((0, 0, 1), (4, 0, 1), (10, 0, 1)),
        "is_intersection": True,
    }
    raw = {
        "lane_segments": {
            "12": {"id": 12, "lane_type": "VEHICLE", **lane},
            "13": {"id": 13, "lane_type": "BIKE", **lane},
        },
        "drivable_areas": {"7": {"id": 7, "area_boundary": line((0, 0, 1), (9, 0, 1), (9, 9, 1))}},
        "pedestrian_crossings": {},
    }
    path = log / "map" / "log_map_archive_log-a____PIT_city_1.json"
    path.parent.mkdir()
    path.write_text(json.dumps(raw))
    lane_map = Av2Source(log)[0].lane_map
    assert lane_map.lane_ids == ("12",)
    assert lane_map.in_intersection == (True,)
    np.testing.assert_allclose(lane_map.centerlines[0], [(i, 2.0, 1.0) for i in range(11)], atol=1e-12)
    np.testing.assert_array_equal(lane_map.drivable_area[0], [(0, 0), (9, 0), (9, 9)])
    assert Av2Source(log, lane_map=False)[0].lane_map is None


def test_midline_of_a_bend_is_the_middle_circle() -> None:
    angles = np.linspace(0, np.pi / 2, 90)
    circle = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(90)])
    line = midline(12.0 * circle, 8.0 * circle[::3])
    np.testing.assert_allclose(np.linalg.norm(line, axis=1), 10.0, atol=0.02)
    assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() <= STEP_M


def test_class_maps_name_categories_that_exist() -> None:
    for mapping, classes in ((AV2_TO_NUSCENES, NUSCENES_CLASSES), (AV2_TO_WAYMO, ("vehicle", "pedestrian", "cyclist"))):
        assert set(mapping) <= set(AV2_CATEGORIES)
        assert set(mapping.values()) <= set(classes)
    assert len(set(AV2_CATEGORIES)) == 30


def test_errors_name_the_file(log: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="sensors/lidar"):
        Av2Source(tmp_path / "nowhere")
    sweep = log / "sensors" / "lidar" / f"{FIRST_NS}.feather"
    whole = sweep.read_bytes()
    sweep.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=rf"{FIRST_NS}\.feather: no readable feather"):
        Av2Source(log)[0]
    _write(sweep, {"x": [1.0]})
    with pytest.raises(DatasetError, match=rf"{FIRST_NS}\.feather: lacks column y, z"):
        Av2Source(log)[0]
    (log / "sensors" / "lidar" / "copy.feather").touch()
    with pytest.raises(DatasetError, match=r"copy\.feather"):
        Av2Source(log)


def test_sparse_poses(log: Path) -> None:
    stamps = FIRST_NS + PERIOD_NS * np.array([0, 3])
    _write(log / "city_SE3_egovehicle.feather", {"timestamp_ns": stamps, **_pose_columns(CITY_SE3_EGO[::3])})
    with pytest.raises(DatasetError, match=r"city_SE3_egovehicle\.feather: no pose at"):
        Av2Source(log)[1]


def test_missing_poses(log: Path) -> None:
    (log / "city_SE3_egovehicle.feather").unlink()
    with pytest.raises(DatasetError, match=r"city_SE3_egovehicle\.feather: does not exist"):
        Av2Source(log)[0]


def test_names_labels_and_poses_need_no_cloud(log: Path) -> None:
    source = Av2Source(log.parent, num_sweeps=2, cameras=False)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.av2.reader._read_sweep")
    assert source.annotations(0) is not None


def _nulls(table: Any, name: str) -> Any:
    return table.set_column(table.schema.get_field_index(name), name, pyarrow.nulls(len(table)))


def _first(value: Any) -> Callable[[Any, str], Any]:
    """Exchanges the first value of a column."""

    def change(table: Any, name: str) -> Any:
        others = table[name].to_pylist()[1:]
        values = pyarrow.array([value, *(map(str, others) if isinstance(value, str) else others)])
        return table.set_column(table.schema.get_field_index(name), name, values)

    return change


@pytest.mark.parametrize(
    ("file", "column", "change", "expected"),
    [
        ("annotations", "track_uuid", _nulls, "6 nulls in column track_uuid; expected texts"),
        ("annotations", "category", _first(None), "1 nulls in column category; expected texts"),
        ("annotations", "qz", _nulls, "6 nulls in column qz; expected numbers"),
        ("annotations", "ty_m", _first(np.inf), "ty_m that are not finite"),
        ("annotations", "timestamp_ns", _first("x"), "timestamp_ns of string; expected whole numbers"),
        ("city_SE3_egovehicle", "timestamp_ns", _nulls, "4 nulls in column timestamp_ns; expected whole numbers"),
        ("city_SE3_egovehicle", "tx_m", _first(np.nan), "tx_m that are not finite"),
        ("city_SE3_egovehicle", "qw", _first(1e308), "a pose that is none"),
    ],
)
def test_a_column_without_its_values_is_named(
    log: Path, file: str, column: str, change: Callable[[Any, str], Any], expected: str
) -> None:
    path = log / f"{file}.feather"
    feather.write_feather(change(feather.read_table(path, memory_map=False), column), path)
    with pytest.raises(DatasetError, match=expected) as error:
        Av2Source(log)[0]
    assert str(path) in str(error.value)


def test_a_table_without_rows_and_types_is_named(log: Path) -> None:
    path = log / "annotations.feather"
    _write(path, {name: [] for name in feather.read_table(path, memory_map=False).column_names})
    with pytest.raises(DatasetError, match=r"annotations.*timestamp_ns of null; expected whole numbers"):
        Av2Source(log)[0]


def test_a_quaternion_of_zeros_is_named(log: Path) -> None:
    path = log / "city_SE3_egovehicle.feather"
    table = feather.read_table(path, memory_map=False)
    for name in ("qw", "qx", "qy", "qz"):
        table = _first(0.0)(table, name)
    feather.write_feather(table, path)
    with pytest.raises(DatasetError, match=r"city_SE3_egovehicle.*a pose that is none"):
        Av2Source(log)[0]
