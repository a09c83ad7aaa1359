"""The Waymo reader against a segment that ``waymo_fixture`` writes apart from it, by the published definitions."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lidarloop_core.cli import main
from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.geometry.camera import project
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.nuscenes.reader import NuScenesSource
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from lidarloop_training.data.waymo.classes import NUSCENES_TO_WAYMO, WAYMO_CLASSES, WAYMO_TO_NUSCENES
from lidarloop_training.data.waymo.reader import LIDAR_COLUMNS, WaymoSource
from tests.training.data.waymo import fixture as written
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud

TOP = written.mounting_matrix(1)[:3, 3]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    root = tmp_path_factory.mktemp("waymo") / "training"
    return root, written.write_segment(root, written.Options())


def _copy(root: Path, place: Path, *, without: tuple[str, ...] = ()) -> Path:
    """The split, as links, less some components."""
    for folder in root.iterdir():
        if folder.name not in without:
            (place / folder.name).mkdir(parents=True)
            for file in folder.iterdir():
                (place / folder.name / file.name).symlink_to(file)
    return place


def _rewrite(path: Path, change: Callable[..., Any]) -> None:
    table = change(pq.read_table(path))
    path.unlink()
    pq.write_table(table, path)


def test_every_point_comes_back_within_its_pixel(split: tuple[Path, Any]) -> None:
    root, options = split
    source = WaymoSource(root)
    assert len(source) == 3
    for index in range(3):
        sweep = source[index].keyframe
        assert sweep.columns == LIDAR_COLUMNS
        world = (sweep.points[:, :3].astype(float) + TOP) @ written.frame_matrix(index)[:3, :3].T
        world += written.frame_matrix(index)[:3, 3]
        for laser, (_, columns, *_) in written.LASERS.items():
            seen = options.seen[index, laser, 1]
            order = np.lexsort((seen.pixels[:, 1], seen.pixels[:, 0]))
            got = sweep.points[sweep.points[:, 6] == laser]
            np.testing.assert_array_equal(got[:, 5], seen.pixels[order, 0])
            expected_intensity = 255 * np.tanh(seen.intensity[order].astype(float))
            np.testing.assert_allclose(got[:, 3], expected_intensity, rtol=1e-5)
            assert got[:, 3].max() <= 255
            # In the sensor's frame at the pose of the pixel, error is along the two angles and nowhere else.
            found, truth = world[sweep.points[:, 6] == laser], seen.points[order]
            column = seen.pixels[order, 1]
            when = 0.1 * index + (0.1 * (column + 0.5) / columns if laser == 1 else 0.05)
            azimuth_error, inclination_error, range_error = _polar_errors(found, truth, laser, when)
            assert np.abs(range_error).max() < 3e-3  # float32 poses some 15 km from the origin
            noise = 3e-3 / 2.5  # the same, as an angle at the nearest point
            assert np.abs(azimuth_error).max() < np.pi / columns + noise
            spacing = np.diff(written.inclinations(laser))
            assert np.abs(inclination_error).max() < spacing.max() / 2 + noise
            # Centres of pixels: half a pixel off would show in the mean.
            assert abs(azimuth_error.mean()) < 0.1 * 2 * np.pi / columns
            assert abs(inclination_error.mean()) < 0.1 * spacing.mean()


def _polar_errors(
    found: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], laser: int, when: float | npt.NDArray[np.float64]
) -> tuple[Any, ...]:
    matrices = [written.pose_matrix(t) for t in np.broadcast_to(when, len(found))]
    polar = []
    for points in (found, truth):
        sensor = np.array(
            [
                np.linalg.solve(matrix @ written.mounting_matrix(laser), np.append(point, 1))[:3]
                for matrix, point in zip(matrices, points, strict=True)
            ]
        )
        level = np.hypot(sensor[:, 0], sensor[:, 1])
        polar.append((np.arctan2(sensor[:, 1], sensor[:, 0]), np.arctan2(sensor[:, 2], level), level, sensor))
    turn = (polar[0][0] - polar[1][0] + np.pi) % (2 * np.pi) - np.pi
    ranges = [np.linalg.norm(p[3], axis=1) for p in polar]
    return turn, polar[0][1] - polar[1][1], ranges[0] - ranges[1]


def test_boxes_poses_and_speeds_are_exact(split: tuple[Path, Any]) -> None:
    root, _ = split
    for index in range(3):
        sample = WaymoSource(root, cameras=False)[index]
        assert sample.token == f"{written.SEGMENT}-{written.FIRST_US + index * written.PERIOD_US}"
        assert sample.scene == written.SEGMENT
        assert sample.stamp_ns == (written.FIRST_US + index * written.PERIOD_US) * 1000
        np.testing.assert_allclose(sample.keyframe.ego_SE3_lidar.translation, TOP)
        np.testing.assert_array_equal(sample.keyframe.ego_SE3_lidar.rotation, np.eye(3))
        pose = written.frame_matrix(index).astype(np.float32)
        np.testing.assert_allclose(sample.keyframe.world_SE3_ego.matrix, pose, atol=1e-6)
        annotations = sample.annotations
        assert annotations.instance_ids == ("car", "far car", "walker", "rider")
        assert annotations.boxes.names == ["car", "car", "pedestrian", "bicycle"]
        assert annotations.num_lidar_pts.tolist() == [120, 4, 33, 0]
        for got, box in zip(annotations.boxes.values, written.BOXES, strict=False):
            _, _, center, size, heading, speed, *_ = box
            expected = np.array([*(np.array(center) - TOP), *size, heading], np.float32)
            np.testing.assert_array_equal(got[:7], expected)
            velocity = np.full(3, np.nan) if speed is None else written.frame_matrix(index)[:3, :3].T @ speed
            np.testing.assert_allclose(got[7:], velocity[:2], atol=1e-5)


def test_a_frame_without_objects_is_labelled_all_the_same(split: tuple[Path, Any], tmp_path: Path) -> None:
    place = _copy(split[0], tmp_path)
    _rewrite(place / "lidar_box" / f"{written.SEGMENT}.parquet", _drop_frame)
    source = WaymoSource(place, cameras=False)
    assert [len(source[i].annotations.boxes) for i in range(3)] == [0, 4, 4]


def test_levels_are_those_of_the_labellers(split: tuple[Path, Any]) -> None:
    root, _ = split
    source = WaymoSource(root, cameras=False)
    assert source.annotated_levels(1).tolist() == [0, 0, 2, 0]
    assert len(source[1].annotations.boxes) == 4


def test_landmarks_appear_where_the_rectified_camera_sees_them(split: tuple[Path, Any]) -> None:
    root, _ = split
    sample = WaymoSource(root)[2]
    assert [image.name for image in sample.cameras] == ["CAM_FRONT", "CAM_FRONT_LEFT"]
    for number, image in zip((1, 2), sample.cameras, strict=True):
        assert (image.width, image.height) == written.CAMERA_SIZE
        assert image.stamp_ns == (written.FIRST_US + 200_000 + 10_000 * number) * 1000
        np.testing.assert_allclose(image.world_SE3_ego.matrix, written.pose_matrix(0.2 + 0.01 * number), atol=1e-9)
        grey = image.load().mean(axis=2)
        landmarks = np.array(written.LANDMARKS[number])
        pixels, depth = project(image.ego_SE3_camera.inverse().transform(landmarks), image.intrinsics)
        assert (depth > 5).all()
        y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
        for landmark, (u, v) in zip(landmarks, pixels, strict=True):
            near = np.maximum(grey - 30, 0) * (np.hypot(x - u, y - v) < 10)
            center = np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
            np.testing.assert_allclose(center, (u, v), atol=0.3)
            # Without rectification it would not be there.
            assert np.hypot(*(np.array(written.distorted_pixel(number, landmark)) - (u, v))) > 0.5


@pytest.mark.parametrize("row_group_size", [1, 4])
def test_row_groups_of_any_size_and_any_order_of_reading(
    split: tuple[Path, Any], tmp_path: Path, row_group_size: int
) -> None:
    root, options = split
    want = [WaymoSource(root)[i] for i in range(3)]
    written.write_segment(tmp_path, dataclasses.replace(options, row_group_size=row_group_size))
    source = pickle.loads(pickle.dumps(WaymoSource(tmp_path)))
    for index in (2, 0, 1, 0, 2):
        got = source[index]
        np.testing.assert_array_equal(got.keyframe.points, want[index].keyframe.points)
    for image, expected in zip(got.cameras, want[2].cameras, strict=True):
        np.testing.assert_array_equal(image.load(), expected.load())
    assert pickle.loads(pickle.dumps(source))[1].token == want[1].token


def test_returns_lidars_and_earlier_sweeps(split: tuple[Path, Any]) -> None:
    root, options = split
    both = WaymoSource(root, lidars=("TOP",), returns=(1, 2))[0].keyframe.points
    second = WaymoSource(root, lidars=("TOP", "REAR"), returns=(2,))[0].keyframe.points
    first = WaymoSource(root, lidars=("TOP",))[0].keyframe.points
    np.testing.assert_array_equal(both, np.concatenate([first, second]))  # the rear LiDAR has no second return here
    assert len(second) == len(options.seen[0, 1, 2].points)
    source = WaymoSource(root, num_sweeps=2, cameras=False)
    assert [len(source[i].sweeps) for i in (0, 1, 2)] == [1, 2, 2]
    np.testing.assert_array_equal(source[2].sweeps[1].points, WaymoSource(root)[1].keyframe.points)
    np.testing.assert_allclose(source[2].sweeps[1].world_SE3_ego.matrix, written.frame_matrix(1), atol=2e-3)


def test_one_segment_by_its_file(split: tuple[Path, Any]) -> None:
    root, _ = split
    assert len(WaymoSource(root / "vehicle_pose" / f"{written.SEGMENT}.parquet")) == 3


def test_without_pixel_poses_it_warns_and_the_top_lidar_is_smeared(split: tuple[Path, Any], tmp_path: Path) -> None:
    root, _ = split
    place = _copy(root, tmp_path, without=("lidar_pose", "lidar_box", "camera_image", "camera_calibration"))
    with pytest.warns(UserWarning, match="lidar_pose"):
        sample = WaymoSource(place)[0]
    assert sample.annotations is None
    assert sample.cameras == ()
    moved = np.abs(sample.keyframe.points - WaymoSource(root)[0].keyframe.points)[:, :3].max(axis=1)
    is_top = sample.keyframe.points[:, 6] == 1
    assert moved[is_top].max() > 0.3
    assert moved[~is_top].max() == 0


def test_only_asked_for_pictures_are_read(split: tuple[Path, Any], tmp_path: Path) -> None:
    """A damaged picture does no harm until somebody looks at it, and the error then names file and row."""
    root, _ = split
    place = _copy(root, tmp_path)

    def blank(table: Any) -> Any:
        column = table.schema.get_field_index("[CameraImageComponent].image")
        return table.set_column(column, table.schema.field(column), pa.array([b"no picture"] * len(table)))

    path = place / "camera_image" / f"{written.SEGMENT}.parquet"
    _rewrite(path, blank)
    sample = WaymoSource(place)[0]
    with pytest.raises(DatasetError, match=r"camera_image.*row 1"):
        sample.cameras[0].load()


@pytest.mark.parametrize("tag", ["lidar", "lidar_calibration", "camera_calibration"])
def test_a_missing_component_is_named(split: tuple[Path, Any], tmp_path: Path, tag: str) -> None:
    place = _copy(split[0], tmp_path, without=(tag,))
    with pytest.raises(DatasetError, match=f"{tag}/{written.SEGMENT}.parquet: is missing"):
        WaymoSource(place)[0]


def test_a_missing_segment_of_an_optional_component_is_named(split: tuple[Path, Any], tmp_path: Path) -> None:
    place = _copy(split[0], tmp_path)
    (place / "lidar_box" / f"{written.SEGMENT}.parquet").unlink()
    with pytest.raises(DatasetError, match="lidar_box"):
        WaymoSource(place)[0]


def _drop_frame(table: Any) -> Any:
    return table.slice(5)


def _foreign_segment(table: Any) -> Any:
    return table.set_column(0, "key.segment_context_name", pa.array(["another"] * len(table)))


def _short_shape(table: Any) -> Any:
    name = "[LiDARComponent].range_image_return1.shape"
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, pa.array([[64, 1000, 4]] * len(table), pa.list_(pa.int32(), 3)))


def _without_values(table: Any) -> Any:
    return table.drop_columns(["[LiDARComponent].range_image_return1.values"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_drop_frame, f"frame {written.FIRST_US} and laser 1"),
        (_foreign_segment, "segment another"),
        (_short_shape, "shape"),
        (_without_values, "lacks the columns"),
    ],
)
def test_a_damaged_lidar_component_is_named(
    split: tuple[Path, Any], tmp_path: Path, change: Callable[..., Any], expected: str
) -> None:
    place = _copy(split[0], tmp_path)
    path = place / "lidar" / f"{written.SEGMENT}.parquet"
    _rewrite(path, change)
    with pytest.raises(DatasetError, match=expected) as error:
        WaymoSource(place)[0]
    assert str(path) in str(error.value)


def test_truncated_and_inconsistent_files_are_named(split: tuple[Path, Any], tmp_path: Path) -> None:
    place = _copy(split[0], tmp_path)
    path = place / "lidar_calibration" / f"{written.SEGMENT}.parquet"

    def fewer_beams(table: Any) -> Any:
        name = "[LiDARCalibrationComponent].beam_inclination.values"
        return table.set_column(
            table.schema.get_field_index(name), name, pa.array([[0.1, 0.2]] * len(table), pa.list_(pa.float64()))
        )

    _rewrite(path, fewer_beams)
    with pytest.raises(DatasetError, match=r"2 beam inclinations.*64"):
        WaymoSource(place)[0]
    path = place / "vehicle_pose" / f"{written.SEGMENT}.parquet"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"vehicle_pose.*truncated"):
        WaymoSource(place)


def test_mistakes_in_the_arguments(split: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="vehicle_pose"):
        WaymoSource(tmp_path)
    with pytest.raises(ConfigError, match="ROOF"):
        WaymoSource(split[0], lidars=("ROOF",))
    with pytest.raises(ConfigError, match="returns"):
        WaymoSource(split[0], returns=(3,))
    with pytest.raises(IndexError):
        WaymoSource(split[0])[3]


def test_classes_there_and_back() -> None:
    assert [NUSCENES_TO_WAYMO[WAYMO_TO_NUSCENES[name]] for name in WAYMO_CLASSES] == list(WAYMO_CLASSES)


def test_through_a_bag_and_through_tables(split: tuple[Path, Any], tmp_path: Path) -> None:
    source = WaymoSource(split[0])
    bag = BagSource(write_bag(source, tmp_path / "drive.mcap"))
    write_nuscenes(source, tmp_path / "tables", keyframe_every=1)
    tables = NuScenesSource(tmp_path / "tables")
    assert len(bag) == len(tables) == 3
    for index in range(3):
        want = source[index]
        for got in (bag[index], tables[index]):
            np.testing.assert_array_equal(got.keyframe.points[:, :3], want.keyframe.points[:, :3])
            values = want.annotations.boxes.values
            np.testing.assert_allclose(got.annotations.boxes.values[:, :7], values[:, :7], atol=1e-3)
            assert got.annotations.boxes.names == want.annotations.boxes.names


def test_converted_by_the_command(split: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = split[0] / "vehicle_pose" / f"{written.SEGMENT}.parquet"
    assert main(["convert", "waymo", str(file), str(tmp_path / "drive.mcap")]) == 0
    assert len(BagSource(tmp_path / "drive.mcap")) == 3
    place = _copy(split[0], tmp_path / "two")
    pq.write_table(_foreign_segment(pq.read_table(file)), place / "vehicle_pose" / "another.parquet")
    assert main(["convert", "waymo", str(place), str(tmp_path / "two.mcap")]) == 1
    assert "2 drives" in capsys.readouterr().err


def test_names_labels_and_poses_need_no_cloud(split: Any) -> None:
    source = WaymoSource(split[0], cameras=False)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.waymo.component.RowReader.row")


@pytest.mark.parametrize(
    ("tag", "column", "values", "expected"),
    [
        ("vehicle_pose", "key.frame_timestamp_micros", None, "nulls in column key.frame_timestamp_micros"),
        ("lidar", "key.laser_name", "TOP", "key.laser_name of string; expected whole numbers"),
        ("lidar", "[LiDARComponent].range_image_return1.values", "x", "no list of numbers"),
        ("lidar", "[LiDARComponent].range_image_return1.shape", [-1, -1, 4], "with shape"),
        ("lidar_calibration", "[LiDARCalibrationComponent].beam_inclination.min", None, "no inclinations"),
        ("lidar_calibration", "[LiDARCalibrationComponent].beam_inclination.values", ["x"], "beam inclinations"),
        ("lidar_box", "key.laser_object_id", None, "nulls in column key.laser_object_id; expected texts"),
        ("lidar_box", "[LiDARBoxComponent].box.heading", None, "a box with nulls"),
        ("lidar_box", "[LiDARBoxComponent].type", "car", "type of string; expected numbers"),
        ("camera_calibration", "[CameraCalibrationComponent].intrinsic.f_u", None, "intrinsics with nulls"),
        ("camera_calibration", "[CameraCalibrationComponent].width", None, "nulls in column .*width"),
        ("camera_image", "[CameraImageComponent].pose_timestamp", None, "is no time in seconds"),
        ("camera_image", "[CameraImageComponent].pose_timestamp", 1e308, "is no time in seconds"),
    ],
)
def test_a_column_without_its_values_is_named(
    split: tuple[Path, Any], tmp_path: Path, tag: str, column: str, values: Any, expected: str
) -> None:
    place = _copy(split[0], tmp_path)
    path = place / tag / f"{written.SEGMENT}.parquet"
    _rewrite(path, lambda t: t.set_column(t.schema.get_field_index(column), column, pa.array([values] * len(t))))
    with pytest.raises(DatasetError, match=expected) as error:
        WaymoSource(place)[0]
    assert str(path) in str(error.value)
