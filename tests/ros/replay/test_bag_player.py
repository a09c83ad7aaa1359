"""The bag player: which topics it takes, and the stamps it reads from raw bytes."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.bag import BagReader, BagWriter, message_type
from lidarloop_core.io.messages import cloud_message, odometry_message, transforms_message
from lidarloop_ros.node import fastdds
from lidarloop_ros.replay import bag_player, pace
from lidarloop_ros.replay.bag_player import BagPlayer, BagTopics, find_topics, header_stamp_ns
from lidarloop_ros.replay.node_process import isolated_node

MS = 1_000_000
T0 = 1_700_000_000_000 * MS + 123_456
COLUMNS = {name: np.zeros(1, np.float32) for name in "xyz"}


def write_bag(path: Path, *cloud_topics: str, odometry: str = "/odom", num: int = 1) -> Path:
    with BagWriter(path) as bag:
        bag.write("/tf_static", T0, transforms_message([("base_link", "lidar", SE3.identity())], T0, message_type))
        for i in range(num):
            stamp = T0 + i * 20 * MS
            if odometry:
                pose = odometry_message(SE3.identity(), (0, 0, 0), (0, 0, 0), stamp, message_type)
                bag.write(odometry, stamp, pose)
            for topic in cloud_topics:
                bag.write(topic, stamp, cloud_message(COLUMNS, stamp, "lidar", message_type))
    return path


def test_the_only_cloud_topic_is_found_beside_ground_truth(tmp_path: Path) -> None:
    with BagReader(write_bag(tmp_path / "bag.mcap", "/points_raw", "/ground_truth/boxes")) as reader:
        assert find_topics(reader) == BagTopics("/points_raw", "/odom", ("/tf_static",))


def test_of_several_cloud_topics_one_has_to_be_named(tmp_path: Path) -> None:
    with BagReader(write_bag(tmp_path / "bag.mcap", "/front", "/rear", odometry="")) as reader:
        with pytest.raises(BagError, match=r"/front, /rear; name it with --topic"):
            find_topics(reader)
        assert find_topics(reader, "/rear") == BagTopics("/rear", "", ("/tf_static",))
        with pytest.raises(BagError, match="no topic /side"):
            find_topics(reader, "/side")


def test_without_a_cloud_the_topics_found_are_named(tmp_path: Path) -> None:
    with BagReader(write_bag(tmp_path / "bag.mcap")) as reader, pytest.raises(BagError, match="none among /odom"):
        find_topics(reader)


def test_stamps_are_read_from_raw_bytes(tmp_path: Path) -> None:
    with BagReader(write_bag(tmp_path / "bag.mcap", "/points", num=3)) as reader:
        stamps = [header_stamp_ns(data) for _, _, data in reader.raw_messages(["/points"])]
    assert stamps == [T0 + i * 20 * MS for i in range(3)]
    big_endian = bytes([0, 0, 0, 0]) + (5).to_bytes(4, "big") + (7).to_bytes(4, "big")
    assert header_stamp_ns(big_endian) == 5_000_000_007


class Clock:
    """Time that passes only while the player sleeps, and when the test lets it."""

    def __init__(self) -> None:
        self.now_ns = 7 * MS

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_the_pace_is_the_recorded_one_without_drift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    clock = Clock()
    with (
        BagReader(write_bag(tmp_path / "bag.mcap", "/points", num=50)) as reader,
        isolated_node("player") as node,
    ):
        player = BagPlayer(node, reader, find_topics(reader))
        for module in (bag_player, pace):
            monkeypatch.setattr(module, "time", clock)
        sent_ns = []
        for i, (_, time_ns) in enumerate(player.play(rate=rate)):
            sent_ns.append(time_ns)
            # What the caller does between two clouds must not add up; once it takes longer than the period.
            clock.now_ns += 30 * MS if i == 20 else 4 * MS
    late_ms = [(t - sent_ns[0]) / MS - i * 20 / rate for i, t in enumerate(sent_ns)]
    period_ms = 20 / rate
    num_late = sum(late > 1e-3 for late in late_ms)
    assert len(sent_ns) == 50
    assert late_ms[21] == pytest.approx(30 - period_ms, abs=1e-3)
    # Each cloud after it makes up for what the caller leaves of its period.
    assert num_late == math.ceil((30 - period_ms) / (period_ms - 4))
    assert late_ms[:21] + late_ms[-1:] == pytest.approx([0.0] * 22, abs=1e-3)


def test_the_fast_dds_profile_is_there_and_well_formed() -> None:
    (path,) = set(fastdds.environment().values())
    root = ElementTree.parse(path).getroot()
    assert [e.text for e in root.iter() if e.tag.endswith("segment_size")] == [str(64 * 2**20)]


def played(
    path: Path, topics_at_ms: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch, **options: float
) -> tuple[list[tuple[str, float]], list[str]]:
    """What was sent of a bag with messages at these times, each with its time in seconds, and what was said."""
    clock = Clock()
    said: list[str] = []
    with BagWriter(path) as bag:
        for i, (topic, time_ms) in enumerate(topics_at_ms):
            stamp = T0 + i * 100 * MS
            message = (
                cloud_message(COLUMNS, stamp, "lidar", message_type)
                if topic == "/points"
                else odometry_message(SE3.identity(), (0, 0, 0), (0, 0, 0), stamp, message_type)
            )
            bag.write(topic, round(time_ms * MS), message)
    sent: list[tuple[str, float]] = []
    with BagReader(path) as reader, isolated_node("player") as node:
        player = BagPlayer(node, reader, find_topics(reader))
        for module in (bag_player, pace):
            monkeypatch.setattr(module, "time", clock)

        def send(topic: str, data: bytes) -> int:
            sent.append((topic, (clock.now_ns - 7 * MS) * 1e-9))
            return clock.now_ns

        monkeypatch.setattr(player, "_send", send)
        if options.pop("lockstep", False):
            list(player.play_in_lockstep(**options))
        else:
            list(player.play(rate=1.0, say=said.append, **options))
    return sent, said


def test_a_leap_of_the_bags_times_is_said_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first message has the time 0: 54 years before the others."""
    first, *others = [("/points", 0.0), *(("/points", T0 / MS + i * 100) for i in range(3))]
    sent, said = played(tmp_path / "bag.mcap", [first, *others], monkeypatch)
    assert [t for _, t in sent] == pytest.approx([0.0, 0.0, 0.1, 0.2], abs=1e-6)
    assert said == ["the bag's times leap by 54 years before a message on /points: not waited for"]


def test_a_pause_of_the_recording_is_waited_for_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, said = played(tmp_path / "bag.mcap", [("/points", 1_000.0), ("/points", 9_000.0)], monkeypatch)
    assert [t for _, t in sent] == pytest.approx([0.0, 8.0], abs=1e-6)
    assert said == ["waiting 8 s: the recording pauses until a message on /points"]


def test_a_part_of_the_recording_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [("/points", 1_000.0 + 100 * i) for i in range(10)]
    for options in ({}, {"lockstep": True}):
        sent, _ = played(tmp_path / "bag.mcap", messages, monkeypatch, duration_s=0.35, **options)
        assert len(sent) == 4


def test_in_lockstep_a_cloud_comes_after_all_that_was_recorded_until_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ["/odom", "/points", "/odom", "/odom", "/points", "/points", "/odom"]
    messages = [(topic, 1_000.0 + 40 * i) for i, topic in enumerate(order)]
    sent, _ = played(tmp_path / "bag.mcap", messages, monkeypatch, lockstep=True)
    assert [topic for topic, _ in sent] == ["/odom", "/odom", "/odom", "/points", "/points", "/odom", "/points"]


def test_a_message_without_a_header_is_refused() -> None:
    with pytest.raises(BagError, match="cut off"):
        header_stamp_ns(b"\x00\x01\x00\x00")
