from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from lidarloop_core.cli import main
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagReader, BagWriter, message_type
from lidarloop_training.data.bag.layout import PROVENANCE
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag

if TYPE_CHECKING:
    from tests.training.street import StreetSource


NUM_FRAMES = 13


@pytest.fixture
def whole(street: StreetSource, tmp_path: Path) -> Path:
    """As `lidarloop convert` makes it: the number of frames is told at its beginning."""
    path = write_bag(street, tmp_path / "whole.mcap", cameras=False, provenance={"num_frames": NUM_FRAMES})
    with BagReader(path) as bag:
        assert bag.message_counts["/lidar/points"] == NUM_FRAMES
    return path


def _cut(whole: Path, name: str, share: float) -> tuple[Path, int]:
    """A bag that breaks off, and how many of its clouds are whole."""
    data = whole.read_bytes()
    cut = int(share * len(data))
    broken = whole.with_name(name)
    broken.write_bytes(data[:cut])
    with whole.open("rb") as file:
        clouds = [message.data for _, _, message in make_reader(file).iter_messages(topics=["/lidar/points"])]
    return broken, sum(data.index(cloud) + len(cloud) <= cut for cloud in clouds)


def _convert(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


@pytest.mark.parametrize("share", [0.3, 0.62, 0.9])
def test_what_is_whole_is_converted_and_the_loss_told(
    whole: Path, street: StreetSource, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, num_whole = _cut(whole, "broken.mcap", share)
    out = broken.with_name("out.mcap")
    assert 0 < num_whole < NUM_FRAMES
    assert _convert("bag", broken, out) == 1
    assert f"lidarloop convert bag {broken} OUT.mcap --salvage" in capsys.readouterr().err
    assert not out.exists()
    assert _convert("bag", broken, out, "--salvage") == 3
    lost = NUM_FRAMES - num_whole
    assert f"{num_whole} of {NUM_FRAMES} frames: {lost} lost" in capsys.readouterr().out
    read = BagSource(out)
    assert len(read) == num_whole
    for i in range(num_whole):
        np.testing.assert_array_equal(read[i].keyframe.points, street[i].keyframe.points)
    assert {path.name for path in broken.parent.iterdir()} == {"whole.mcap", "broken.mcap", "out.mcap"}


def test_loss_of_a_bag_that_does_not_tell_its_frames(
    street: StreetSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = write_bag(street, tmp_path / "whole.mcap", cameras=False)
    broken, num_whole = _cut(foreign, "broken.mcap", 0.55)
    assert _convert("bag", broken, tmp_path / "out.mcap", "--salvage") == 3
    found = re.search(r"(\d+) frames: about (\d+) lost in \d+ broken bytes", capsys.readouterr().out)
    assert (int(found[1]), int(found[2])) == (num_whole, 1)


@pytest.mark.parametrize(
    "provenance", ["[]", "no JSON", "[" * 100_000, '{"num_frames": "many"}'], ids=lambda text: text[:9]
)
def test_a_provenance_of_another_form_does_not_stop_the_salvage(tmp_path: Path, provenance: str) -> None:
    columns = {name: np.ones(20_000, np.float32) for name in "xyz"}
    with BagWriter(tmp_path / "drive.mcap") as bag:
        bag.write(PROVENANCE, 1, message_type("std_msgs/msg/String")(data=provenance))
        for stamp_ns in (1, 2, 3):
            bag.write("/points", stamp_ns, messages.cloud_message(columns, stamp_ns, "lidar", message_type))
    data = (tmp_path / "drive.mcap").read_bytes()
    (tmp_path / "broken.mcap").write_bytes(data[: int(0.9 * len(data))])
    assert _convert("bag", tmp_path / "broken.mcap", tmp_path / "out.mcap", "--salvage") == 3
    assert len(BagSource(tmp_path / "out.mcap")) == 2


def test_a_whole_bag_loses_nothing(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _convert("bag", whole, tmp_path / "out.mcap", "--salvage") == 0
    assert f"{NUM_FRAMES} frames: nothing lost" in capsys.readouterr().out


def test_damage_in_the_middle_is_counted_by_the_end_of_the_file(
    street: StreetSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compressed recording in chunks of a few frames, as recorders make them, with a chunk overwritten."""
    source, recorded = write_bag(street, tmp_path / "whole.mcap", cameras=False), tmp_path / "damaged.mcap"
    with source.open("rb") as old, recorded.open("wb") as new:
        writer = Writer(new, chunk_size=20_000, compression=CompressionType.ZSTD)
        writer.start(profile="ros2", library="test")
        channels: dict[int, int] = {}
        for schema, channel, message in make_reader(old).iter_messages():
            if channel.id not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.id] = writer.register_channel(channel.topic, "cdr", number, channel.metadata)
            writer.add_message(channels[channel.id], message.log_time, message.data, message.publish_time)
        writer.finish()
    with recorded.open("rb") as file:
        chunks = make_reader(file).get_summary().chunk_indexes
    hit = chunks[len(chunks) // 2]
    data = bytearray(recorded.read_bytes())
    middle = hit.chunk_start_offset + hit.chunk_length // 2
    data[middle : middle + 64] = bytes(64)
    recorded.write_bytes(data)
    lost = [i for i in range(NUM_FRAMES) if hit.message_start_time <= street[i].stamp_ns <= hit.message_end_time]
    assert _convert("bag", recorded, tmp_path / "out.mcap", "--salvage") == 3
    num_lost = NUM_FRAMES - len(BagSource(tmp_path / "out.mcap"))
    assert 0 < num_lost <= len(lost)
    assert f"{NUM_FRAMES - num_lost} of {NUM_FRAMES} frames: {num_lost} lost" in capsys.readouterr().out


def test_topics_can_be_named(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _convert("bag", whole, tmp_path / "a.mcap", "--points-topics", "/lidar/points", "/lidar/rear") == 1
    assert "/lidar/rear" in capsys.readouterr().err
    options = ("--points-topics", "/lidar/points", "--odometry-topic", "/odom")
    assert _convert("bag", whole, tmp_path / "b.mcap", *options) == 0
    assert len(BagSource(tmp_path / "b.mcap")) == NUM_FRAMES
