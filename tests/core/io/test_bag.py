from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import messages, vision_msgs
from lidarloop_core.io.bag import BagReader, BagWriter, message_type, typestore
from lidarloop_core.pointcloud.decode import read_points

# Published by `ros2 interface` tooling of ROS 2 Jazzy.
DETECTIONS_HASH = "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018"


def cloud(stamp_ns: int, num_points: int = 1000) -> Any:
    points = np.random.default_rng(stamp_ns).normal(size=(3, num_points)).astype(np.float32)
    return messages.cloud_message(dict(zip("xyz", points, strict=True)), stamp_ns, "lidar_top", message_type)


def write_drive(path: Path, num_clouds: int = 40) -> None:
    """About a megabyte per ten clouds: more than one chunk."""
    with BagWriter(path) as bag:
        bag.write("/tf_static", 100, messages.transforms_message([("a", "b", SE3.identity())], 100, message_type))
        for i in range(num_clouds):
            bag.write("/lidar/points", 100 + i * 10, cloud(100 + i * 10, 8000))
            odometry = messages.odometry_message(SE3.identity(), (0, 0, 0), (0, 0, 0), 105 + i * 10, message_type)
            bag.write("/odom", 105 + i * 10, odometry)
        bag.write("/lane_map", 90, messages.string_message({}, message_type))


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive.mcap"
    write_drive(path)
    return path


def test_what_was_written_is_read_in_time_order(drive: Path) -> None:
    with BagReader(drive) as bag:
        assert bag.topics == {
            "/lane_map": "std_msgs/msg/String",
            "/lidar/points": "sensor_msgs/msg/PointCloud2",
            "/odom": "nav_msgs/msg/Odometry",
            "/tf_static": "tf2_msgs/msg/TFMessage",
        }
        assert bag.message_counts == {"/lane_map": 1, "/lidar/points": 40, "/odom": 40, "/tf_static": 1}
        assert (bag.start_ns, bag.duration_ns) == (90, 405)
        times = [time_ns for _, time_ns, _ in bag.messages()]
        assert times == sorted(times)
        assert len(times) == 82
        for i, (topic, time_ns, message) in enumerate(bag.messages(["/lidar/points"])):
            assert (topic, time_ns) == ("/lidar/points", 100 + i * 10)
            expected = read_points(cloud(time_ns, 8000), ("x", "y", "z"))
            np.testing.assert_array_equal(read_points(message, ("x", "y", "z")).points, expected.points)


def test_raw_messages_are_what_the_middleware_takes(drive: Path) -> None:
    with BagReader(drive) as bag:
        raw = [(time_ns, data) for _, time_ns, data in bag.raw_messages(["/odom"])]
        assert len(raw) == 40
        assert isinstance(raw[0][1], bytes)
        odometry: Any = typestore().deserialize_cdr(raw[0][1], "nav_msgs/msg/Odometry")
        assert odometry.child_frame_id == "base_link"
        assert list(bag.raw_messages([])) == []


def test_latched_topics_are_known_again(drive: Path, tmp_path: Path) -> None:
    with BagReader(drive) as bag:
        assert bag.latched_topics == {"/tf_static", "/lane_map"}
    with BagWriter(tmp_path / "own.mcap", latched_topics=["/a"]) as writer:
        writer.write("/a", 0, messages.string_message(1, message_type))
        writer.write("/b", 0, messages.string_message(1, message_type))
    with BagReader(tmp_path / "own.mcap") as bag:
        assert bag.latched_topics == {"/a"}


def test_equal_messages_give_equal_bytes_under_any_name(drive: Path, tmp_path: Path) -> None:
    write_drive(tmp_path / "elsewhere" / "another.mcap")
    assert (tmp_path / "elsewhere" / "another.mcap").read_bytes() == drive.read_bytes()


def test_an_exception_leaves_the_old_bag_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    write_drive(path, 1)
    before = path.read_bytes()

    def fail() -> None:
        with BagWriter(path) as bag:
            bag.write("/a", 0, messages.string_message(1, message_type))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_bag_without_messages_is_a_bag(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "empty.mcap"):
        pass
    with BagReader(tmp_path / "empty.mcap") as bag:
        assert (bag.topics, bag.start_ns, bag.duration_ns) == ({}, 0, 0)
        assert list(bag.messages()) == []


def test_mcaps_own_reader_reads_ours(drive: Path) -> None:
    reader = pytest.importorskip("mcap.reader").make_reader(drive.open("rb"))
    summary = reader.get_summary()
    assert summary.statistics.message_count == 82
    found = [(c.topic, m.log_time) for _, c, m in reader.iter_messages(topics=["/odom"])]
    assert found == [("/odom", 105 + i * 10) for i in range(40)]


@pytest.mark.parametrize("plugin", ["SQLITE3", "MCAP"])
def test_bag_folders_are_read(tmp_path: Path, plugin: str) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = typestore()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin[plugin]) as writer:
        connection = writer.add_connection("/lidar/points", "sensor_msgs/msg/PointCloud2", typestore=store)
        writer.write(connection, 7, store.serialize_cdr(cloud(7), "sensor_msgs/msg/PointCloud2"))
    with BagReader(tmp_path / "bag") as bag:
        ((topic, time_ns, message),) = bag.messages()
        assert (topic, time_ns, message.width) == ("/lidar/points", 7, 1000)


def test_a_type_only_the_bag_knows_is_read(tmp_path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import get_types_from_msg

    store = typestore()
    store.register(get_types_from_msg("std_msgs/Header header\nint32 gear\n", "vendor_msgs/msg/Gear"))
    header = messages.header_message(5, "f", lambda name: store.types[name])
    gear = store.types["vendor_msgs/msg/Gear"](header=header, gear=3)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/gear", "vendor_msgs/msg/Gear", typestore=store)
        writer.write(connection, 5, store.serialize_cdr(gear, "vendor_msgs/msg/Gear"))
    with BagReader(tmp_path / "bag") as bag:
        ((_, _, message),) = bag.messages()
        assert message.gear == 3
    with pytest.raises(KeyError):
        message_type("vendor_msgs/msg/Gear")


def test_a_missing_topic_is_named_with_those_found(drive: Path) -> None:
    with (
        BagReader(drive) as bag,
        pytest.raises(BagError, match=r"no topic /points; found .*/lidar/points \(sensor_msgs"),
    ):
        bag.messages(["/points", "/odom"])


@pytest.mark.parametrize("name", ["absent.mcap", "absent", "text.txt", "text.mcap", "empty.mcap", "folder"])
def test_what_is_no_bag_is_refused(tmp_path: Path, name: str) -> None:
    if name == "folder":
        (tmp_path / name).mkdir()
    elif not name.startswith("absent"):
        (tmp_path / name).write_text("hello" * 50 if name.startswith("text") else "")
    with pytest.raises(BagError, match=f"{name} is .*no.*bag.*expected"):
        BagReader(tmp_path / name)


def test_every_truncation_is_refused(drive: Path, tmp_path: Path) -> None:
    data = drive.read_bytes()
    path = tmp_path / "cut.mcap"
    for size in [*range(0, 60, 7), *np.linspace(60, len(data) - 1, 40).astype(int)]:
        path.write_bytes(data[:size])
        with pytest.raises(BagError, match="truncated, corrupt or no ROS 2 bag"):
            BagReader(path)


def test_corrupt_bytes_are_a_bag_error_or_harmless(drive: Path, tmp_path: Path) -> None:
    """MCAP has no checksum that rosbags writes: what must hold is that no other error escapes."""
    data = drive.read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "corrupt.mcap"
    # Mostly in the last kilobytes, where the index is.
    positions = [*random.integers(len(data) - 3000, len(data), 60), *random.integers(0, 400, 10)]
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        try:
            with BagReader(path) as bag:
                for _ in bag.messages():
                    pass
        except BagError:
            pass


def test_writer_refusals(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"ending in .mcap"):
        BagWriter(tmp_path / "drive.bag")
    with BagWriter(tmp_path / "drive.mcap") as bag:
        bag.write("/a", 0, messages.string_message(1, message_type))
        with pytest.raises(BagError, match="PointCloud2 on /a; expected a std_msgs/msg/String"):
            bag.write("/a", 0, cloud(0))


def test_vision_msgs_have_the_official_type_hash() -> None:
    assert typestore().hash_rihs01("vision_msgs/msg/Detection3DArray") == DETECTIONS_HASH


def test_both_copies_of_vision_msgs_agree(repository: Path) -> None:
    """The pip-only ROS set-up generates the package from its own .msg files."""
    folder = repository / "ros2_ws" / "src" / "pip_ros" / "vision_msgs" / "msg"
    if not folder.is_dir():
        pytest.skip("no pip_ros/vision_msgs in this checkout")

    def fields(text: str) -> list[str]:
        lines = (line.split("#")[0].split() for line in text.splitlines())
        return [" ".join(words).replace("vision_msgs/", "") for words in lines if words]

    for name, text in vision_msgs.DEFINITIONS.items():
        assert fields((folder / f"{name.split('/')[-1]}.msg").read_text()) == fields(text), name


def test_messages_can_be_made_without_rosbags() -> None:
    """On the vehicle the classes are rclpy's; rosbags is for files."""
    program = (
        "import sys, lidarloop_core.io.messages, lidarloop_core.io.results, lidarloop_core.inference.detector\n"
        "sys.exit(any(m in sys.modules for m in ('rosbags', 'onnxruntime', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def _with_json_channel(path: Path, *, profile: str = "ros2") -> None:
    """A healthy recording of CDR clouds and, beside them, a channel of JSON, as Foxglove's tools write it."""
    from mcap.writer import Writer as McapWriter

    store = typestore()
    with path.open("wb") as file:
        writer = McapWriter(file)
        writer.start(profile=profile, library="test")
        definition, _ = store.generate_msgdef("sensor_msgs/msg/PointCloud2")
        cdr = writer.register_schema("sensor_msgs/msg/PointCloud2", "ros2msg", definition.encode())
        json_schema = writer.register_schema("foxglove.Log", "jsonschema", b'{"type": "object"}')
        clouds = writer.register_channel("/lidar/points", "cdr", cdr)
        logs = writer.register_channel("/logs", "json", json_schema)
        for i in range(3):
            raw = bytes(store.serialize_cdr(cloud(i), "sensor_msgs/msg/PointCloud2"))
            writer.add_message(clouds, i, raw, i)
            writer.add_message(logs, i, b'{"message": "hello"}', i)
        writer.finish()


@pytest.mark.parametrize("profile", ["ros2", ""])
def test_channels_that_are_not_ros_are_left_aside(tmp_path: Path, profile: str) -> None:
    _with_json_channel(tmp_path / "mixed.mcap", profile=profile)
    with BagReader(tmp_path / "mixed.mcap") as bag:
        assert bag.topics == {"/lidar/points": "sensor_msgs/msg/PointCloud2"}
        assert bag.message_counts == {"/lidar/points": 3}
        assert [(topic, message.width) for topic, _, message in bag.messages()] == [("/lidar/points", 1000)] * 3


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_topics_of_a_folder_that_are_not_cdr_are_left_aside(tmp_path: Path, storage: str) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    store, bag = typestore(), tmp_path / "bag"
    with Writer(bag, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        clouds = writer.add_connection("/lidar/points", "sensor_msgs/msg/PointCloud2", typestore=store)
        logs = writer.add_connection("/logs", "std_msgs/msg/String", typestore=store, serialization_format="json")
        for i in range(3):
            writer.write(clouds, i, bytes(store.serialize_cdr(cloud(i), "sensor_msgs/msg/PointCloud2")))
            writer.write(logs, i, b'{"data": "hello"}')
    assert "json" in (bag / "metadata.yaml").read_text()
    for place in (bag, next(bag.glob("*.mcap" if storage == "mcap" else "*.db3"))):
        with BagReader(place) as reader:
            assert reader.topics == {"/lidar/points": "sensor_msgs/msg/PointCloud2"}
            assert reader.message_counts == {"/lidar/points": 3}
            assert [(topic, message.width) for topic, _, message in reader.messages()] == [("/lidar/points", 1000)] * 3
            assert [topic for topic, _, _ in reader.raw_messages()] == ["/lidar/points"] * 3


@pytest.mark.parametrize("place", ["drive.mcap", "drive.db3", "folder"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    if place == "folder":
        path.mkdir()
        os.mkfifo(path / "metadata.yaml")
    elif place.endswith("mcap"):
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(BagError, match=r"pipe, a device.*expected an \.mcap"):
        BagReader(path)


def test_a_cut_message_is_named_with_its_topic_and_time(tmp_path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = typestore()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/lidar/points", "sensor_msgs/msg/PointCloud2", typestore=store)
        whole = bytes(store.serialize_cdr(cloud(7), "sensor_msgs/msg/PointCloud2"))
        writer.write(connection, 7, whole[:40])
    with BagReader(tmp_path / "bag") as bag, pytest.raises(BagError, match=r"/lidar/points at 7 ns is no .*40 bytes"):
        list(bag.messages())


@pytest.mark.parametrize("topic", ["points", "/a b", "/../../etc", "/1st", "//", "/a/"])
def test_topics_that_ros_does_not_allow_are_not_written(tmp_path: Path, topic: str) -> None:
    with (
        pytest.raises(BagError, match="expected parts of letters"),
        BagWriter(tmp_path / "drive.mcap") as bag,
    ):
        bag.write(topic, 0, messages.string_message(1, message_type))
