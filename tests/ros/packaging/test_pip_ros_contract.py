"""What lidarloop expects of tf2_ros, message_filters and sensor_msgs_py, asked of whichever is installed.

On a vehicle these are the real packages, on pip's wheels our stand-ins: the same expectations must hold of both.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import message_filters
import numpy as np
import numpy.typing as npt
import pytest
import tf2_ros
from geometry_msgs.msg import PointStamped, TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from scipy.spatial.transform import Rotation, Slerp
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from lidarloop_ros.replay.node_process import isolated_node


def transform(
    parent: str,
    child: str,
    stamp_s: float,
    xyz: tuple[float, float, float] = (0, 0, 0),
    rotation: Rotation | None = None,
) -> TransformStamped:
    msg = TransformStamped(child_frame_id=child)
    msg.header.frame_id = parent
    msg.header.stamp = Time(nanoseconds=round(stamp_s * 1e9)).to_msg()
    msg.transform.translation.x, msg.transform.translation.y, msg.transform.translation.z = map(float, xyz)
    x, y, z, w = (rotation or Rotation.identity()).as_quat()
    msg.transform.rotation.x, msg.transform.rotation.y, msg.transform.rotation.z, msg.transform.rotation.w = x, y, z, w
    return msg


def matrix(msg: TransformStamped) -> npt.NDArray[np.float64]:
    t, q = msg.transform.translation, msg.transform.rotation
    result = np.eye(4)
    result[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    result[:3, 3] = t.x, t.y, t.z
    return result


def at(stamp_s: float) -> Time:
    return Time(nanoseconds=round(stamp_s * 1e9))


@pytest.fixture
def buffer() -> tf2_ros.Buffer:
    return tf2_ros.Buffer()


@pytest.fixture
def node() -> Iterator[Node]:
    with isolated_node("contract") as node:
        yield node


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.005)


class TestBuffer:
    def test_composes_up_and_down_the_tree(self, buffer: tf2_ros.Buffer) -> None:
        quarter = Rotation.from_euler("z", 90, degrees=True)
        tilt = Rotation.from_euler("xy", [20, -35], degrees=True)
        to_base, to_lidar, to_camera = (
            transform("odom", "base_link", 10, (5, 2, 0), quarter),
            transform("base_link", "lidar", 10, (1, 0, 2), tilt),
            transform("base_link", "camera", 10, (0, 0.5, 1.5), tilt.inv()),
        )
        for msg in (to_base, to_lidar, to_camera):
            buffer.set_transform(msg, "test")

        def expect(target: str, source: str, wanted: npt.NDArray[np.float64]) -> None:
            result = buffer.lookup_transform(target, source, at(10))
            assert (result.header.frame_id, result.child_frame_id) == (target, source)
            np.testing.assert_allclose(matrix(result), wanted, atol=1e-12)

        expect("odom", "lidar", matrix(to_base) @ matrix(to_lidar))
        expect("lidar", "odom", np.linalg.inv(matrix(to_base) @ matrix(to_lidar)))
        expect("camera", "lidar", np.linalg.inv(matrix(to_camera)) @ matrix(to_lidar))
        expect("lidar", "lidar", np.eye(4))

    def test_interpolates_position_and_rotation(self, buffer: tf2_ros.Buffer) -> None:
        rotations = Rotation.from_euler("zyx", [[10, 0, 0], [80, 40, -30]], degrees=True)
        buffer.set_transform(transform("odom", "base_link", 10, (0, 0, 0), rotations[0]), "test")
        buffer.set_transform(transform("odom", "base_link", 11, (4, -2, 1), rotations[1]), "test")

        result = buffer.lookup_transform("odom", "base_link", at(10.25))

        assert result.header.stamp == at(10.25).to_msg()
        np.testing.assert_allclose(matrix(result)[:3, 3], (1, -0.5, 0.25), atol=1e-12)
        wanted = Slerp([0, 1], rotations)(0.25).as_matrix()
        np.testing.assert_allclose(matrix(result)[:3, :3], wanted, atol=1e-9)

    def test_takes_the_shorter_way_round(self, buffer: tf2_ros.Buffer) -> None:
        first = transform("odom", "a", 0.5)
        second = transform("odom", "a", 1.5, rotation=Rotation.from_rotvec([0, 0, 0.2]))
        q = second.transform.rotation
        q.x, q.y, q.z, q.w = -q.x, -q.y, -q.z, -q.w  # the same rotation
        for msg in (first, second):
            buffer.set_transform(msg, "test")
        result = Rotation.from_matrix(matrix(buffer.lookup_transform("odom", "a", at(1.0)))[:3, :3])
        np.testing.assert_allclose(result.as_rotvec(), (0, 0, 0.1), atol=1e-9)

    def test_time_zero_is_the_newest_common_time(self, buffer: tf2_ros.Buffer) -> None:
        for stamp_s in (1, 2, 3):
            buffer.set_transform(transform("odom", "base_link", stamp_s, (stamp_s, 0, 0)), "test")
        for stamp_s in (1, 2):
            buffer.set_transform(transform("base_link", "arm", stamp_s, (0, stamp_s, 0)), "test")
        buffer.set_transform_static(transform("base_link", "lidar", 0, (0, 0, 1)), "test")

        newest = buffer.lookup_transform("odom", "lidar", Time())
        assert newest.header.stamp == at(3).to_msg()
        np.testing.assert_allclose(matrix(newest)[:3, 3], (3, 0, 1))
        common = buffer.lookup_transform("odom", "arm", Time())
        assert common.header.stamp == at(2).to_msg()
        np.testing.assert_allclose(matrix(common)[:3, 3], (2, 2, 0))

    def test_static_transforms_hold_at_any_time(self, buffer: tf2_ros.Buffer) -> None:
        buffer.set_transform_static(transform("base_link", "lidar", 5, (1, 2, 3)), "test")
        for stamp in (at(0.001), at(1e6), Time()):
            np.testing.assert_allclose(matrix(buffer.lookup_transform("base_link", "lidar", stamp))[:3, 3], (1, 2, 3))

    def test_a_later_static_transform_replaces_the_first(self, buffer: tf2_ros.Buffer) -> None:
        for x in (1, 2):
            buffer.set_transform_static(transform("base_link", "lidar", 0, (x, 0, 0)), "test")
        assert buffer.lookup_transform("base_link", "lidar", Time()).transform.translation.x == 2

    def test_transforms_may_come_out_of_order(self, buffer: tf2_ros.Buffer) -> None:
        for stamp_s in (3, 1, 2):
            buffer.set_transform(transform("odom", "a", stamp_s, (stamp_s**2, 0, 0)), "test")
        assert buffer.lookup_transform("odom", "a", at(1.5)).transform.translation.x == pytest.approx(2.5)
        assert buffer.lookup_transform("odom", "a", Time()).transform.translation.x == 9

    def test_forgets_after_the_cache_time(self, buffer: tf2_ros.Buffer) -> None:
        for stamp_s in range(1, 21):
            buffer.set_transform(transform("odom", "a", stamp_s), "test")
        assert buffer.can_transform("odom", "a", at(12))
        assert not buffer.can_transform("odom", "a", at(8))
        buffer.set_transform(transform("odom", "a", 2, (99, 0, 0)), "test")  # too old to be taken
        assert not buffer.can_transform("odom", "a", at(2))

    def test_cache_time_can_be_chosen(self) -> None:
        buffer = tf2_ros.Buffer(Duration(seconds=60))
        for stamp_s in range(1, 21):
            buffer.set_transform(transform("odom", "a", stamp_s), "test")
        assert buffer.can_transform("odom", "a", at(2))

    def test_clear_keeps_static_transforms(self, buffer: tf2_ros.Buffer) -> None:
        buffer.set_transform(transform("odom", "base_link", 1), "test")
        buffer.set_transform_static(transform("base_link", "lidar", 0, (1, 0, 0)), "test")
        buffer.clear()
        assert not buffer.can_transform("odom", "lidar", Time())
        assert buffer.can_transform("base_link", "lidar", Time())

    def test_a_missing_transform_raises_the_reason(self, buffer: tf2_ros.Buffer) -> None:
        for stamp_s in (1, 2):
            buffer.set_transform(transform("odom", "base_link", stamp_s), "test")
        buffer.set_transform(transform("other_odom", "other_base", 1), "test")
        buffer.set_transform(transform("odom", "once", 1), "test")
        cases: list[tuple[str, str, float, type[Exception]]] = [
            ("odom", "nowhere", 1, tf2_ros.LookupException),
            ("odom", "other_base", 1, tf2_ros.ConnectivityException),
            ("odom", "base_link", 2.5, tf2_ros.ExtrapolationException),
            ("odom", "base_link", 0.5, tf2_ros.ExtrapolationException),
            ("odom", "once", 1.5, tf2_ros.ExtrapolationException),
            ("odom", "", 1, tf2_ros.InvalidArgumentException),
            ("/odom", "base_link", 1, tf2_ros.InvalidArgumentException),
        ]
        for target, source, missing_s, reason in cases:
            with pytest.raises(reason) as caught:
                buffer.lookup_transform(target, source, at(missing_s))
            assert isinstance(caught.value, tf2_ros.TransformException)
            assert not buffer.can_transform(target, source, at(missing_s))

    def test_a_frame_to_itself_is_the_identity_known_or_not(self, buffer: tf2_ros.Buffer) -> None:
        np.testing.assert_array_equal(matrix(buffer.lookup_transform("lidar", "lidar", Time())), np.eye(4))
        np.testing.assert_array_equal(matrix(buffer.lookup_transform("lidar", "lidar", at(3))), np.eye(4))
        buffer.set_transform(transform("odom", "base_link", 2), "test")
        newest = buffer.lookup_transform("base_link", "base_link", Time())
        assert (newest.header.stamp.sec, newest.header.frame_id) == (2, "base_link")

    def test_normalises_quaternions(self, buffer: tf2_ros.Buffer) -> None:
        msg = transform("odom", "base_link", 1, rotation=Rotation.from_rotvec([0.3, 0, 0]))
        wanted = matrix(msg)
        q = msg.transform.rotation
        q.x, q.w = 2 * q.x, 2 * q.w
        buffer.set_transform(msg, "test")
        result = buffer.lookup_transform("odom", "base_link", at(1))
        q = result.transform.rotation
        assert np.linalg.norm([q.x, q.y, q.z, q.w]) == pytest.approx(1.0)
        np.testing.assert_allclose(matrix(result), wanted, atol=1e-12)

    @pytest.mark.parametrize("fault", ["nan", "quaternion", "self", "no parent", "no child"])
    def test_ignores_broken_transforms(self, buffer: tf2_ros.Buffer, fault: str) -> None:
        msg = transform("odom", "base_link", 1)
        if fault == "nan":
            msg.transform.translation.x = math.nan
        elif fault == "quaternion":
            msg.transform.rotation.w = 0.0
        elif fault == "self":
            msg.child_frame_id = "odom"
        elif fault == "no parent":
            msg.header.frame_id = ""
        else:
            msg.child_frame_id = ""
        buffer.set_transform(msg, "test")
        assert not buffer.can_transform("odom", "base_link", at(1))

    def test_waits_for_what_comes_in_time(self, buffer: tf2_ros.Buffer) -> None:
        timer = threading.Timer(0.1, buffer.set_transform, (transform("odom", "a", 1, (7, 0, 0)), "test"))
        timer.start()
        result = buffer.lookup_transform("odom", "a", at(1), Duration(seconds=5))
        assert result.transform.translation.x == 7
        timer.join()
        start_s = time.monotonic()
        assert not buffer.can_transform("odom", "a", at(2), Duration(seconds=0.1))
        assert time.monotonic() - start_s == pytest.approx(0.1, abs=0.09)


def test_listener_hears_broadcasters(node: Node) -> None:
    sender, static_sender = tf2_ros.TransformBroadcaster(node), tf2_ros.StaticTransformBroadcaster(node)
    static_sender.sendTransform(transform("base_link", "lidar", 0, (0, 0, 2)))
    static_sender.sendTransform([transform("base_link", "camera", 0, (1, 0, 0))])
    # Comes late: it must receive all static transforms.
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node, spin_thread=False)
    wait_until(lambda: sender.pub_tf.get_subscription_count() > 0)
    sender.sendTransform([transform("odom", "base_link", 1, (3, 0, 0))])

    wait_until(lambda: buffer.can_transform("odom", "lidar", at(1)) and buffer.can_transform("odom", "camera", at(1)))
    np.testing.assert_allclose(matrix(buffer.lookup_transform("odom", "lidar", at(1)))[:3, 3], (3, 0, 2))
    listener.unregister()


class TestSynchronizers:
    """Fed by hand, without DDS: the order of arrival is then the test's own."""

    @staticmethod
    def stamped(stamp_s: float) -> PointStamped:
        return PointStamped(header=Header(stamp=at(stamp_s).to_msg()))

    @staticmethod
    def collect(synchronizer: message_filters.TimeSynchronizer) -> list[tuple[float, ...]]:
        sets: list[tuple[float, ...]] = []
        synchronizer.registerCallback(
            lambda *msgs: sets.append(tuple(Time.from_msg(msg.header.stamp).nanoseconds / 1e9 for msg in msgs))
        )
        return sets

    def test_equal_stamps(self) -> None:
        a, b, c = (message_filters.SimpleFilter() for _ in range(3))
        sets = self.collect(message_filters.TimeSynchronizer([a, b, c], 10))
        for source, stamp_s in [(a, 1), (b, 1), (a, 2), (c, 2), (c, 1), (b, 3), (b, 2)]:
            source.signalMessage(self.stamped(stamp_s))
        assert sets == [(1, 1, 1), (2, 2, 2)]

    def test_queue_forgets_the_oldest(self) -> None:
        a, b = message_filters.SimpleFilter(), message_filters.SimpleFilter()
        sets = self.collect(message_filters.TimeSynchronizer([a, b], 2))
        for stamp_s in (1, 2, 3):
            a.signalMessage(self.stamped(stamp_s))
        for stamp_s in (1, 2, 3):
            b.signalMessage(self.stamped(stamp_s))
        assert sets == [(2, 2), (3, 3)]

    def test_nearly_equal_stamps(self) -> None:
        a, b = message_filters.SimpleFilter(), message_filters.SimpleFilter()
        sets = self.collect(message_filters.ApproximateTimeSynchronizer([a, b], 10, 0.05))
        for source, stamp_s in [(a, 1.0), (b, 1.06), (a, 1.03), (b, 1.2), (a, 1.16), (a, 1.3)]:
            source.signalMessage(self.stamped(stamp_s))
        assert sets == [(1.03, 1.06), (1.16, 1.2)]

    def test_takes_the_nearest(self) -> None:
        a, b = message_filters.SimpleFilter(), message_filters.SimpleFilter()
        sets = self.collect(message_filters.ApproximateTimeSynchronizer([a, b], 10, 0.5))
        for stamp_s in (1.0, 1.1, 1.2):
            a.signalMessage(self.stamped(stamp_s))
        b.signalMessage(self.stamped(1.12))
        assert sets == [(1.1, 1.12)]

    def test_all_of_a_set_lie_within_the_slop(self) -> None:
        a, b, c = (message_filters.SimpleFilter() for _ in range(3))
        sets = self.collect(message_filters.ApproximateTimeSynchronizer([a, b, c], 10, 0.1))
        for source, stamp_s in [(b, 0.93), (b, 1.08), (c, 1.09), (a, 1.0)]:
            source.signalMessage(self.stamped(stamp_s))
        assert sets == [(1.0, 1.08, 1.09)]

    def test_no_message_is_used_twice(self) -> None:
        a, b = message_filters.SimpleFilter(), message_filters.SimpleFilter()
        sets = self.collect(message_filters.ApproximateTimeSynchronizer([a, b], 10, 0.5))
        for source, stamp_s in [(a, 1.0), (b, 1.1), (b, 1.2), (a, 1.3)]:
            source.signalMessage(self.stamped(stamp_s))
        assert sets == [(1.0, 1.1), (1.3, 1.2)]

    def test_subscribers(self, node: Node) -> None:
        sources = [message_filters.Subscriber(node, PointStamped, f"/point_{name}", qos_profile=5) for name in "ab"]
        publishers = [node.create_publisher(PointStamped, f"/point_{name}", 5) for name in "ab"]
        sets = self.collect(message_filters.TimeSynchronizer(sources, 5))
        wait_until(lambda: all(publisher.get_subscription_count() for publisher in publishers))
        for publisher in publishers:
            publisher.publish(self.stamped(4))
        wait_until(lambda: bool(sets))
        assert sets == [(4, 4)]


class TestPointCloud2:
    FIELDS = (
        PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
        PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
        PointField(name="ring", offset=10, datatype=PointField.UINT16, count=1),
    )

    def test_round_trip(self) -> None:
        points = np.array([(1.5, -2.0, 7), (math.nan, 0.5, 65535)], [("x", "f4"), ("y", "f4"), ("ring", "u2")])
        cloud = point_cloud2.create_cloud(Header(frame_id="lidar"), self.FIELDS, points.tolist())
        assert isinstance(cloud, PointCloud2)
        assert (cloud.header.frame_id, cloud.height, cloud.width) == ("lidar", 1, 2)
        assert (cloud.point_step, cloud.row_step) == (12, 24)
        assert not cloud.is_dense

        read = point_cloud2.read_points(cloud)
        assert read.dtype.names == ("x", "y", "ring")
        for name in read.dtype.names:
            np.testing.assert_array_equal(read[name], points[name])

    def test_chosen_fields_without_nans(self) -> None:
        cloud = point_cloud2.create_cloud(
            Header(), self.FIELDS, [(1.0, math.nan, 1), (math.nan, 1.0, 2), (3.0, 4.0, 3)]
        )
        np.testing.assert_array_equal(point_cloud2.read_points(cloud, ["y", "ring"], skip_nans=True)["ring"], (2, 3))
        np.testing.assert_array_equal(point_cloud2.read_points(cloud, ["ring"])["ring"], (1, 2, 3))

    def test_big_endian(self) -> None:
        cloud = point_cloud2.create_cloud(Header(), self.FIELDS[:2], [(1.0, 2.0)])
        cloud.data = np.array([1.0, 2.0], ">f4").tobytes()
        cloud.is_bigendian = True
        assert point_cloud2.read_points(cloud).tolist() == [(1.0, 2.0)]
