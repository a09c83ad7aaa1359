"""qos_mismatch: the rule by which DDS matches, policy by policy."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import PointCloud2

from lidarloop_core.fast_dds import PROFILE_VARIABLES, segment_bytes
from lidarloop_ros.node import fastdds
from lidarloop_ros.node.graph_check import PACKETS, input_problems, qos_mismatch, silence_hint

RELIABILITIES = (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)
DURABILITIES = (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL)
PROFILES = [
    QoSProfile(depth=1, reliability=reliability, durability=durability, deadline=Duration(nanoseconds=deadline_ns))
    for reliability, durability, deadline_ns in itertools.product(RELIABILITIES, DURABILITIES, (0, 10**8, 10**9))
]


@pytest.mark.parametrize("offered", PROFILES, ids=str)
def test_agrees_with_the_middleware_on_every_pair(offered: QoSProfile) -> None:
    for requested in PROFILES:
        compatibility, reason = qos_check_compatible(offered, requested)
        assert bool(qos_mismatch(offered, requested)) == (compatibility == QoSCompatibility.ERROR), reason


def test_a_mismatch_names_its_policy() -> None:
    def profile(**policies: object) -> QoSProfile:
        return QoSProfile(depth=1, **policies)

    assert qos_mismatch(
        profile(reliability=ReliabilityPolicy.BEST_EFFORT), profile(reliability=ReliabilityPolicy.RELIABLE)
    ).startswith("reliability:")
    assert qos_mismatch(profile(), profile(durability=DurabilityPolicy.TRANSIENT_LOCAL)).startswith("durability:")
    assert qos_mismatch(profile(), profile(deadline=Duration(seconds=1))) == (
        "deadline: inf s is offered, 1 s is requested"
    )
    assert qos_mismatch(profile(), profile(liveliness=LivelinessPolicy.MANUAL_BY_TOPIC)).startswith("liveliness:")


def test_an_unset_duration_from_discovery_is_infinite() -> None:
    discovered = QoSProfile(depth=1, deadline=Duration(nanoseconds=2**63 - 1))
    assert qos_mismatch(QoSProfile(depth=1), discovered) == qos_mismatch(discovered, QoSProfile(depth=1)) == ""


@pytest.mark.parametrize(
    ("published", "remedy"),
    [
        ("velodyne_msgs/msg/VelodyneScan", "packets; start velodyne_pointcloud's transform node and take its clouds"),
        ("livox_ros_driver2/msg/CustomMsg", "xfer_format to 0"),
        ("std_msgs/msg/String", "remap one of them"),
    ],
)
def test_what_a_driver_publishes_in_the_place_of_clouds_is_named_with_the_remedy(published: str, remedy: str) -> None:
    endpoint = SimpleNamespace(topic_type=published, node_namespace="/", node_name="driver")
    node = SimpleNamespace(get_publishers_info_by_topic=lambda topic: [endpoint])
    subscription = SimpleNamespace(topic_name="/points", msg_type=PointCloud2)
    (problem,) = input_problems(cast(Any, node), [cast(Any, subscription)])
    assert problem.startswith(f"/driver publishes {published} on /points, expected sensor_msgs/msg/PointCloud2: ")
    assert remedy in problem
    assert (published in PACKETS) == (remedy != "remap one of them")


def test_the_hint_of_silence_names_the_segment_that_a_cloud_may_exceed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Graph:
        def count_publishers(self, _: str) -> int:
            return 1

    for variable in PROFILE_VARIABLES:
        monkeypatch.setenv(variable, str(fastdds.profile_path()))
    hint = silence_hint(cast(Any, Graph()), "/points")
    assert "Larger clouds than its segment_size, 67 MB, are lost too" in hint
    assert str(fastdds.profile_path()) in hint


def test_a_profile_is_made_with_a_larger_segment(tmp_path: Path) -> None:
    larger = tmp_path / "fastdds.xml"
    larger.write_text(fastdds.profile_with_segment(400_000_000))
    assert segment_bytes(larger) == 400_000_000
    assert segment_bytes(fastdds.profile_path()) == 64 * 2**20
