from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from lidarloop_core.errors import BagError
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagReader, BagWriter, message_type
from lidarloop_core.io.salvage import Salvage, salvage

NUM_FRAMES = 12


def _messages() -> list[tuple[str, int, object]]:
    found = []
    for i in range(NUM_FRAMES):
        random = np.random.default_rng(i)
        columns = {name: random.normal(size=50).astype(np.float32) for name in "xyz"}
        found.append(("/points", i * 10, messages.cloud_message(columns, i * 10, "lidar", message_type)))
        found.append(("/names", i * 10 + 5, messages.string_message({"frame": i}, message_type)))
    return found


@lru_cache(maxsize=1)
def _intact_bag(folder: Path) -> bytes:
    with BagWriter(folder / "whole.mcap") as bag:
        for message in _messages():
            bag.write(*message)
    return (folder / "whole.mcap").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("salvage")


@lru_cache(maxsize=8)
def _recorded(compression: CompressionType, use_chunking: bool = True) -> bytes:
    """A recording by the mcap library, in chunks of a few messages."""
    out = io.BytesIO()
    writer = Writer(out, chunk_size=900, compression=compression, use_chunking=use_chunking)
    writer.start(profile="ros2", library="test")
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
    channels = [writer.register_channel(f"/{name}", "cdr", schema) for name in "ab"]
    for i in range(NUM_FRAMES):
        for channel in channels:
            data = np.random.default_rng((i, channel)).bytes(300)
            writer.add_message(channel, i * 10 + channel, data, i * 10 + channel, i)
    writer.finish()
    return out.getvalue()


def _contents(path: Path) -> list[tuple[str, int, bytes]]:
    with path.open("rb") as file:
        return [(c.topic, m.log_time, m.data) for _, c, m in make_reader(file).iter_messages()]


def _salvaged(data: bytes, folder: Path) -> tuple[list[tuple[str, int, bytes]], Salvage]:
    (folder / "broken.mcap").write_bytes(data)
    found = salvage(folder / "broken.mcap", folder / "saved.mcap")
    contents = _contents(folder / "saved.mcap")
    counts = {topic: sum(t == topic for t, _, _ in contents) for topic in {t for t, _, _ in contents}}
    assert counts == found.message_counts
    return contents, found


def test_an_intact_file_is_copied_completely(folder: Path) -> None:
    for data in (_intact_bag(folder), _recorded(CompressionType.ZSTD), _recorded(CompressionType.NONE, False)):
        (folder / "original.mcap").write_bytes(data)
        contents, found = _salvaged(data, folder)
        assert contents == _contents(folder / "original.mcap")
        assert found.is_whole
        assert found.num_bytes_lost == 0
        assert found.num_bytes == len(data)
        assert found.expected_counts == found.message_counts


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_our_bags_lose_the_message_that_is_cut_and_no_other(folder: Path, share: float) -> None:
    """They are uncompressed: a message is intact if all its bytes lie before the cut."""
    data = _intact_bag(folder)
    cut = int(share * len(data))
    with BagReader(folder / "whole.mcap") as bag:
        recorded = list(bag.raw_messages())
    expected = [m for m in recorded if data.index(m[2]) + len(m[2]) <= cut]
    if not expected:
        with pytest.raises(BagError, match=r"no complete message|is no MCAP"):
            _salvaged(data[:cut], folder)
        return
    contents, found = _salvaged(data[:cut], folder)
    assert contents == expected
    assert not found.is_whole
    with BagReader(folder / "saved.mcap") as saved:  # types and all
        assert len(list(saved.messages())) == len(expected)


@settings(max_examples=60, deadline=None)
@given(
    share=st.floats(0, 1, exclude_max=True), compression=st.sampled_from([CompressionType.ZSTD, CompressionType.LZ4])
)
def test_compressed_recordings_lose_the_chunk_that_is_cut(
    folder: Path, share: float, compression: CompressionType
) -> None:
    data = _recorded(compression)
    cut = int(share * len(data))
    chunks = make_reader(io.BytesIO(data)).get_summary().chunk_indexes
    assert len(chunks) > 3
    whole = [c for c in chunks if c.chunk_start_offset + c.chunk_length <= cut]
    if not whole:
        with pytest.raises(BagError, match=r"no complete message|is no MCAP"):
            _salvaged(data[:cut], folder)
        return
    contents, found = _salvaged(data[:cut], folder)
    last_ns = max(c.message_end_time for c in whole)
    (folder / "original.mcap").write_bytes(data)
    assert contents == [m for m in _contents(folder / "original.mcap") if m[1] <= last_ns]
    assert not found.is_whole
    assert (found.num_bytes_lost > 0) == any(
        c.chunk_start_offset + 9 < cut < c.chunk_start_offset + c.chunk_length for c in chunks
    )


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_damage_in_the_middle_costs_what_it_hits(folder: Path, share: float, flip: int) -> None:
    """The library's chunks carry checksums, so nothing false comes out whatever byte is hit."""
    data = bytearray(_recorded(CompressionType.NONE))
    chunks = make_reader(io.BytesIO(bytes(data))).get_summary().chunk_indexes
    hit = chunks[len(chunks) // 2]
    place = hit.chunk_start_offset + 9 + 24 + int(share * (hit.chunk_length - 33))
    (folder / "original.mcap").write_bytes(data)
    original = _contents(folder / "original.mcap")
    data[place] ^= flip
    contents, found = _salvaged(bytes(data), folder)
    assert set(contents) <= set(original)
    untouched = [m for m in original if not hit.message_start_time <= m[1] <= hit.message_end_time]
    if found.expected_counts is not None:
        assert set(untouched) <= set(contents)
        assert found.expected_counts == {"/a": NUM_FRAMES, "/b": NUM_FRAMES}
        num_missing = sum(found.expected_counts.values()) - sum(found.message_counts.values())
        assert num_missing == len(original) - len(contents)


def test_foreign_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "x.mcap").write_bytes(b"SQLite format 3\0")
    with pytest.raises(BagError, match="is no MCAP file"):
        salvage(tmp_path / "x.mcap", tmp_path / "out.mcap")
    with pytest.raises(BagError, match=r"y\.mcap cannot be salvaged"):
        salvage(tmp_path / "y.mcap", tmp_path / "out.mcap")
    assert not (tmp_path / "out.mcap").exists()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("place", [17, 21, 29])
def test_a_damaged_header_costs_no_message(folder: Path, place: int) -> None:
    """After the magic and the frame: the profile's length and text, and the library's text."""
    data = bytearray(_recorded(CompressionType.NONE))
    (folder / "original.mcap").write_bytes(data)
    data[place] = 0x80
    contents, found = _salvaged(bytes(data), folder)
    assert contents == _contents(folder / "original.mcap")
    assert not found.is_whole
