from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from lidarloop_core.errors import BagError, DatasetError, ImageFormatError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagReader, BagWriter, message_type, typestore
from lidarloop_core.io.images import decode_raw, encode_jpeg, encoded
from lidarloop_core.sample import Sample
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from tests.training.sources import MadeSource, assert_names_labels_and_poses_need_no_cloud

if TYPE_CHECKING:
    from tests.training.street import StreetSource


MS = 1_000_000


def test_round_trip(street: StreetSource, tmp_path: Path) -> None:
    path = write_bag(street, tmp_path / "street.mcap")
    read = BagSource(path, num_sweeps=3)
    assert len(read) == len(street)
    for i, sample in enumerate(map(read.__getitem__, range(len(read)))):
        expected = street[i]
        assert sample.token == str(expected.stamp_ns)
        assert [s.stamp_ns for s in sample.sweeps] == [street[j].stamp_ns for j in range(i, max(i - 3, -1), -1)]
        assert sample.keyframe.columns == expected.keyframe.columns
        np.testing.assert_array_equal(sample.keyframe.points, expected.keyframe.points)
        for pose in ("world_SE3_ego", "ego_SE3_lidar"):
            got, want = getattr(sample.keyframe, pose), getattr(expected.keyframe, pose)
            np.testing.assert_allclose(got.matrix, want.matrix, atol=1e-9)
        np.testing.assert_array_equal(sample.annotations.boxes.values, expected.annotations.boxes.values)
        np.testing.assert_array_equal(sample.annotations.num_lidar_pts, expected.annotations.num_lidar_pts)
        np.testing.assert_array_equal(sample.annotations.visibility, expected.annotations.visibility)
        assert sample.annotations.instance_ids == expected.annotations.instance_ids
        assert sample.annotations.boxes.names == expected.annotations.boxes.names
        (image,), (want,) = sample.cameras, expected.cameras
        assert (image.name, image.width, image.height, image.stamp_ns) == ("CAM_FRONT", 96, 64, expected.stamp_ns)
        np.testing.assert_array_equal(image.load(), encode_jpeg(street.pixels(i))())
        np.testing.assert_array_equal(image.intrinsics, want.intrinsics)
        np.testing.assert_allclose(image.ego_SE3_camera.matrix, want.ego_SE3_camera.matrix, atol=1e-9)
        np.testing.assert_array_equal(sample.lane_map.centerlines[1], expected.lane_map.centerlines[1])
        assert sample.lane_map.lane_ids == expected.lane_map.lane_ids


def test_topics_and_order(street: StreetSource, tmp_path: Path) -> None:
    with BagReader(write_bag(street, tmp_path / "street.mcap")) as bag:
        assert set(bag.topics) == {
            "/lidar/points", "/odom", "/tf", "/tf_static", "/lane_map", "/lidarloop/provenance",
            "/camera/cam_front/image/compressed", "/camera/cam_front/camera_info",
            "/ground_truth/detections", "/ground_truth/boxes", "/ground_truth/class_names",
        }  # fmt: skip
        order = [topic for topic, _, _ in bag.messages()]
        clouds = [m for _, _, m in bag.messages(["/lidar/points"])]
        assert bag.latched_topics >= {"/tf_static", "/lane_map", "/ground_truth/class_names", "/lidarloop/provenance"}
    assert order.index("/odom") < order.index("/lidar/points")
    assert order.index("/tf_static") < order.index("/lidar/points")
    assert {f.name: f.datatype for f in clouds[0].fields} == {"x": 7, "y": 7, "z": 7, "intensity": 7, "ring": 4}
    assert clouds[0].header.frame_id == "lidar_top"


def test_twist_is_the_motion_of_the_ego(make_street: type[StreetSource], tmp_path: Path) -> None:
    street = make_street()
    with BagReader(write_bag(street, tmp_path / "street.mcap")) as bag:
        odometry = [m for _, _, m in bag.messages(["/odom"])]
    for i, message in enumerate(odometry[1:-1], start=1):
        pose, twist = street.world_SE3_ego(0.1 * i), message.twist.twist
        forward = pose.rotation.T @ [7.0, 0.0, 0.2]
        np.testing.assert_allclose([twist.linear.x, twist.linear.y, twist.linear.z], forward, atol=1e-6)
        assert np.linalg.norm([twist.angular.x, twist.angular.y, twist.angular.z]) == pytest.approx(0.2, abs=1e-6)


def test_same_bytes_with_any_number_of_workers(street: StreetSource, tmp_path: Path) -> None:
    one = write_bag(street, tmp_path / "a" / "street.mcap")
    two = write_bag(street, tmp_path / "b" / "street.mcap", num_workers=2)
    assert one.read_bytes() == two.read_bytes()


def test_nothing_half_written_stays(street: StreetSource, tmp_path: Path) -> None:
    class Broken(MadeSource):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Sample:
            if index == 3:
                raise OSError("disk gone")
            return street[index]

    with pytest.raises(OSError, match="disk gone"):
        write_bag(Broken(), tmp_path / "street.mcap")
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_scene_or_out_of_order_are_refused(
    street: StreetSource, make_street: type[StreetSource], tmp_path: Path
) -> None:
    elsewhere = [dataclasses.replace(make_street()[i], scene="elsewhere") for i in range(2)]
    for frames, message in (
        ([street[0], street[1], *elsewhere], rf"scene elsewhere after those of {street[0].scene}.*a bag of each"),
        ([street[0], street[2], street[1]], rf"at {street[1].stamp_ns} ns after one at {street[2].stamp_ns} ns.*sort"),
    ):
        with pytest.raises(DatasetError, match=message):
            write_bag(frames, tmp_path / "street.mcap")
    assert list(tmp_path.iterdir()) == []


def test_unlabelled_source_without_motion(make_street: type[StreetSource], tmp_path: Path) -> None:
    path = write_bag(make_street(labelled=False, has_motion=False), tmp_path / "plain.mcap", cameras=False)
    sample = BagSource(path, num_sweeps=3)[4]
    assert len(sample.sweeps) == 1
    assert sample.keyframe.world_SE3_ego is None
    assert sample.annotations is None
    assert sample.cameras == ()


def test_older_sweeps_of_samples_are_written_once(street: StreetSource, tmp_path: Path) -> None:
    dense = BagSource(write_bag(street, tmp_path / "street.mcap"), num_sweeps=4)

    class EveryFifth(MadeSource):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Sample:
            return dense[5 * index]

    read = BagSource(write_bag(EveryFifth(), tmp_path / "some.mcap"))
    assert [read[i].stamp_ns for i in range(len(read))] == [street[i].stamp_ns for i in (0, 2, 3, 4, 5, 7, 8, 9, 10)]
    assert [read[i].annotations is not None for i in range(len(read))] == [i in (0, 4, 8) for i in range(9)]


def test_pickles_without_its_open_file(street: StreetSource, tmp_path: Path) -> None:
    source = BagSource(write_bag(street, tmp_path / "street.mcap"))
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[7].keyframe.points, source[7].keyframe.points)


def _cloud(stamp_ns: int, frame: str = "velodyne", num_points: int = 5) -> object:
    columns = {name: np.arange(num_points, dtype=np.float32) for name in "xyz"}
    return messages.cloud_message(columns, stamp_ns, frame, message_type)


def test_foreign_bag_with_clouds_alone(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(4):
            bag.write("/velodyne_points", 1000 + 100 * MS * i + 37, _cloud(1000 + 100 * MS * i))
    source = BagSource(tmp_path / "drive.mcap", num_sweeps=3)
    assert [source[i].token for i in range(len(source))] == [str(1000 + 100 * MS * i) for i in range(4)]
    sample = source[2]
    assert sample.scene == "drive"
    assert sample.keyframe.columns == ("x", "y", "z")
    np.testing.assert_array_equal(sample.keyframe.ego_SE3_lidar.matrix, np.eye(4))
    with pytest.raises(IndexError):
        source[4]


def test_foreign_frames_are_resolved_and_poses_interpolated(tmp_path: Path) -> None:
    ego_SE3_mast, mast_SE3_lidar = SE3.from_yaw(0.5, (1, 0, 1)), SE3.from_yaw(-0.2, (0, 0, 0.7))
    with BagWriter(tmp_path / "drive.mcap") as bag:
        statics = [("vehicle", "mast", ego_SE3_mast), ("mast", "velodyne", mast_SE3_lidar)]
        bag.write("/tf_static", 0, messages.transforms_message(statics, 0, message_type))
        for i in range(3):
            message = messages.odometry_message(
                SE3.from_yaw(0.0, (i, 0, 0)), (1, 0, 0), (0, 0, 0), 200 * MS * i, message_type, child_frame_id="vehicle"
            )
            bag.write("/localisation/odometry", 200 * MS * i, message)
        for stamp_ns in (-0, 150 * MS, 300 * MS, 500 * MS):
            bag.write("/points", stamp_ns, _cloud(stamp_ns))
    with pytest.warns(UserWarning, match="1 clouds without a pose"):
        source = BagSource(tmp_path / "drive.mcap")
    assert len(source) == 3
    keyframe = source[1].keyframe
    np.testing.assert_allclose(keyframe.ego_SE3_lidar.matrix, (ego_SE3_mast @ mast_SE3_lidar).matrix, atol=1e-12)
    np.testing.assert_allclose(keyframe.world_SE3_ego.translation, [0.75, 0, 0], atol=1e-12)


def test_errors_name_what_is_there(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "two.mcap") as bag:
        bag.write("/left", 0, _cloud(0))
        bag.write("/right", 0, _cloud(0))
    with pytest.raises(BagError, match=r"2 topics.*/left.*/right"):
        BagSource(tmp_path / "two.mcap")
    assert len(BagSource(tmp_path / "two.mcap", points_topics=["/left"])) == 1
    with pytest.raises(BagError, match="/middle"):
        BagSource(tmp_path / "two.mcap", points_topics=["/middle"])
    with BagWriter(tmp_path / "none.mcap") as bag:
        bag.write("/names", 0, messages.string_message([], message_type))
    with pytest.raises(BagError, match=r"0 topics.*/names"):
        BagSource(tmp_path / "none.mcap")
    with BagWriter(tmp_path / "loose.mcap") as bag:
        pose = messages.odometry_message(SE3.identity(), (0, 0, 0), (0, 0, 0), 0, message_type)
        bag.write("/odom", 0, pose)
        bag.write("/points", 0, _cloud(0))
    with pytest.raises(BagError, match="base_link to velodyne"):
        BagSource(tmp_path / "loose.mcap")


def _transforms(*transforms: tuple[str, str, SE3], time_ns: int = 0) -> object:
    return messages.transforms_message(transforms, time_ns, message_type)


def _cloud_of(xyz: np.ndarray, stamp_ns: int, frame: str, **columns: np.ndarray) -> object:
    named = {name: xyz[:, i].astype(np.float32) for i, name in enumerate("xyz")}
    return messages.cloud_message({**named, **columns}, stamp_ns, frame, message_type)


def _copy(source: Path, target: Path, *, without: tuple[str, ...] = ()) -> Path:
    """A bag without some of its topics."""
    with BagReader(source) as old, BagWriter(target) as new:
        for topic, time_ns, message in old.messages([t for t in old.topics if t not in without]):
            new.write(topic, time_ns, message)
    return target


def test_poses_by_tf_alone(street: StreetSource, tmp_path: Path) -> None:
    whole = BagSource(write_bag(street, tmp_path / "street.mcap"), num_sweeps=3)
    read = BagSource(_copy(whole.path, tmp_path / "tf.mcap", without=("/odom",)), num_sweeps=3)
    assert len(read) == len(whole)
    for i in range(len(read)):
        assert len(read[i].sweeps) == len(whole[i].sweeps)
        for got, want in ((read[i].keyframe, whole[i].keyframe), (read[i].cameras[0], whole[i].cameras[0])):
            np.testing.assert_allclose(got.world_SE3_ego.matrix, want.world_SE3_ego.matrix, atol=1e-12)


def test_tf_chain_of_a_robot(tmp_path: Path) -> None:
    """map → odom → base_footprint by /tf, the sensors fixed below it; odom, which does not jump, is the world."""

    def on_circle(turned_rad: float) -> SE3:
        return SE3.from_yaw(turned_rad, (20 * np.sin(turned_rad), 20 * (1 - np.cos(turned_rad)), 0))

    with BagWriter(tmp_path / "robot.mcap") as bag:
        statics = [
            ("base_footprint", "base_link", SE3.from_yaw(0.0, (0, 0, 0.3))),
            ("base_link", "velodyne", SE3.from_yaw(0.5, (1.0, 0, 1.5))),
        ]
        bag.write("/tf_static", 0, _transforms(*statics))
        for i in range(5):
            map_SE3_odom = SE3.from_yaw(0.1 * i, (5.0 * i, 0, 0))
            bag.write("/tf", 100 * MS * i, _transforms(("map", "odom", map_SE3_odom), time_ns=100 * MS * i))
            odom_SE3_base = ("/odom", "/base_footprint", on_circle(0.02 * i))
            bag.write("/tf", 100 * MS * i, _transforms(odom_SE3_base, time_ns=100 * MS * i))
        bag.write("/points", 150 * MS, _cloud(150 * MS))
        bag.write("/points", 400 * MS, _cloud(400 * MS))
    source = BagSource(tmp_path / "robot.mcap", num_sweeps=2)
    keyframe = source[0].keyframe
    np.testing.assert_allclose(keyframe.world_SE3_ego.matrix, on_circle(0.03).matrix, atol=1e-12)
    np.testing.assert_allclose(keyframe.ego_SE3_lidar.translation, [1.0, 0, 1.8], atol=1e-12)
    assert len(source[1].sweeps) == 2


def _two_lidars(path: Path, *, moving: bool, num_right: int = 3) -> np.ndarray:
    """A wall of points seen by two LiDARs of a robot, the right one 30 ms later; gives the wall in the world."""
    mountings = {"left": SE3.from_yaw(0.4, (1.0, 0.5, 1.2)), "right": SE3.from_yaw(-1.9, (0.8, -0.6, 1.1))}
    wall = np.random.default_rng(0).uniform((5, -4, 0), (6, 4, 2), (50, 3))
    with BagWriter(path) as bag:
        bag.write("/tf_static", 0, _transforms(*[("base_link", name, pose) for name, pose in mountings.items()]))
        for i in range(3):
            for name, time_ns in (("left", 100 * MS * i), ("right", 100 * MS * i + 30 * MS)):
                world_SE3_base = (
                    SE3.from_yaw(time_ns * 1e-9, (8.0 * time_ns * 1e-9, 0, 0)) if moving else SE3.identity()
                )
                if moving:
                    odometry = messages.odometry_message(world_SE3_base, (8, 0, 0), (0, 0, 1), time_ns, message_type)
                    bag.write("/odom", time_ns, odometry)
                if name == "right" and i >= num_right:
                    continue
                seen = (world_SE3_base @ mountings[name]).inverse().transform(wall)
                ring = np.full(50, 3 if name == "left" else 40, np.uint16)
                extra = {"ring": ring, "dt": np.full(50, 0.01, np.float32)}
                if name == "left":
                    extra["intensity"] = np.full(50, 9, np.float32)
                bag.write(f"/{name}", time_ns, _cloud_of(seen, time_ns, name, **extra))
    return wall


@pytest.mark.parametrize("moving", [True, False])
def test_several_lidars_become_one_sweep(tmp_path: Path, moving: bool) -> None:
    wall = _two_lidars(tmp_path / "robot.mcap", moving=moving)
    source = BagSource(tmp_path / "robot.mcap", points_topics=["/left", "/right"])
    assert len(source) == 3
    for i in range(3):
        sweep = source[i].keyframe
        assert sweep.stamp_ns == 100 * MS * i
        assert sweep.columns == ("x", "y", "z", "ring", "dt")  # the right one tells no intensity
        world_SE3_lidar = (sweep.world_SE3_ego or SE3.identity()) @ sweep.ego_SE3_lidar
        np.testing.assert_allclose(
            world_SE3_lidar.transform(sweep.points[:, :3].astype(np.float64)), np.tile(wall, (2, 1)), atol=1e-5
        )
        assert sweep.points[:, 3].tolist() == [3] * 50 + [40] * 50
        np.testing.assert_allclose(sweep.points[:, 4], [0.01] * 50 + [-0.02] * 50, atol=1e-6)


def test_a_lidar_that_falls_silent_is_told(tmp_path: Path) -> None:
    _two_lidars(tmp_path / "robot.mcap", moving=True, num_right=2)
    with pytest.warns(UserWarning, match="1 of 3 sweeps lack a cloud of /right"):
        source = BagSource(tmp_path / "robot.mcap", points_topics=["/left", "/right"])
    assert [len(source[i].keyframe.points) for i in range(3)] == [100, 100, 50]


def _raw_image(pixels: np.ndarray, encoding: str, stamp_ns: int, *, padding: int = 0) -> object:
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.concatenate([rows, np.full((height, padding), 77, np.uint8)], axis=1)
    return message_type("sensor_msgs/msg/Image")(
        header=messages.header_message(stamp_ns, "front", message_type),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=padded.shape[1],
        data=padded.reshape(-1),
    )


def test_raw_pictures(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    names = {"left": ("rgb8", rgb), "right": ("bgr8", rgb[:, :, ::-1]), "rear": ("mono8", rgb[:, :, 0])}
    names["top"] = ("16UC1", np.repeat(rgb[:, :, :1], 2, axis=2))
    with BagWriter(tmp_path / "drive.mcap") as bag:
        bag.write("/tf_static", 0, _transforms(("velodyne", "front", SE3.identity())))
        bag.write("/points", 0, _cloud(0))
        for name, (encoding, pixels) in names.items():
            info = messages.camera_info_message(np.eye(3), 7, 5, 0, "front", message_type)
            bag.write(f"/cam/{name}/camera_info", 0, info)
            bag.write(f"/cam/{name}/image_raw", 0, _raw_image(np.ascontiguousarray(pixels), encoding, 0, padding=3))
        jpeg = messages.image_message(encode_jpeg(rgb).data, 0, "front", message_type)
        bag.write("/cam/left/image_raw/compressed", 0, jpeg)
    with pytest.warns(UserWarning, match=r"/cam/top/image_raw has encoding 16UC1"):
        source = BagSource(tmp_path / "drive.mcap")
    pictures = {image.name: image for image in source[0].cameras}
    assert set(pictures) == {"LEFT", "RIGHT", "REAR"}
    np.testing.assert_array_equal(pictures["LEFT"].load(), encode_jpeg(rgb)())  # of two topics the compressed one
    np.testing.assert_array_equal(pictures["RIGHT"].load(), rgb)
    np.testing.assert_array_equal(pictures["REAR"].load(), np.repeat(rgb[:, :, :1], 3, axis=2))
    assert encoded(pictures["RIGHT"]).format == "jpeg"  # a raw picture can be written to a bag again


@pytest.mark.parametrize("offset_ms", [-101, -61, 60])
def test_a_camera_that_is_always_off_gives_every_cloud_its_picture(offset_ms: int, tmp_path: Path) -> None:
    """Clouds at 5 Hz, and a camera that the LiDAR sweeps late in its turn: a picture is known by its first pixel."""
    with BagWriter(tmp_path / "drive.mcap") as bag:
        bag.write("/tf_static", 0, _transforms(("velodyne", "front", SE3.identity())))
        bag.write("/cam/rear/camera_info", 0, messages.camera_info_message(np.eye(3), 7, 5, 0, "front", message_type))
        for i in range(1, 7):
            shake_ms = 3 if i % 2 else -2
            stamp_ns = (i * 200 + offset_ms + shake_ms) * MS
            bag.write("/points", i * 200 * MS, _cloud(i * 200 * MS))
            picture: Any = _raw_image(np.full((5, 7, 3), i, np.uint8), "rgb8", stamp_ns)
            bag.write("/cam/rear/image_raw", stamp_ns, picture)
    source = BagSource(tmp_path / "drive.mcap")
    found = {i + 1: [int(image.load()[0, 0, 0]) for image in source[i].cameras] for i in range(len(source))}
    assert sum(len(pictures) for pictures in found.values()) >= 5
    shift = {pictures[0] - i for i, pictures in found.items() if pictures}
    assert len(shift) == 1  # always the same turn's


def test_raw_pictures_that_contradict_themselves() -> None:
    whole: Any = _raw_image(np.zeros((4, 4, 3), np.uint8), "rgb8", 0)
    np.testing.assert_array_equal(decode_raw(whole), np.zeros((4, 4, 3)))
    for change in ({"step": 11}, {"data": whole.data[:-1]}, {"encoding": "bayer_rggb8"}):
        with pytest.raises(ImageFormatError, match=r"picture"):
            decode_raw(dataclasses.replace(whole, **change))


def test_sqlite3_bags(street: StreetSource, tmp_path: Path) -> None:
    whole = BagSource(write_bag(street, tmp_path / "street.mcap"))
    store, connections = typestore(), {}
    with (
        BagReader(whole.path) as bag,
        Writer(tmp_path / "drive", version=8, storage_plugin=StoragePlugin.SQLITE3) as out,
    ):
        for topic, time_ns, message in bag.messages():
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = out.add_connection(topic, kind, typestore=store)
            out.write(connections[topic], time_ns, store.serialize_cdr(message, kind))
    for path in (tmp_path / "drive", tmp_path / "drive" / "drive.db3"):
        read = BagSource(path)
        assert len(read) == len(whole)
        for i in (0, 7):
            np.testing.assert_array_equal(read[i].keyframe.points, whole[i].keyframe.points)
            np.testing.assert_array_equal(read[i].cameras[0].load(), whole[i].cameras[0].load())
            np.testing.assert_array_equal(read[i].annotations.boxes.values, whole[i].annotations.boxes.values)


def test_names_labels_and_poses_need_no_cloud(street: StreetSource, tmp_path: Path) -> None:
    source = BagSource(write_bag(street, tmp_path / "street.mcap"), num_sweeps=2)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.bag.columns.read_points")
    assert source.annotations(0) is not None
