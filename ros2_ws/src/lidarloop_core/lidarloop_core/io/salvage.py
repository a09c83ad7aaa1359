"""Salvage of an MCAP recording that was cut short or damaged: a power cut, a full disk, an aborted copy.

MCAP is a chain of records (mcap.dev/spec): a one-byte kind, an eight-byte length, the body. Everything after the last
complete record is lost, and so are chunks with a broken checksum or compression. In an uncompressed chunk that breaks
off, the messages before the break are recovered.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Header, Message, Schema, Statistics
from mcap.stream_reader import get_chunk_data_stream
from mcap.writer import CompressionType, Writer

from lidarloop_core.errors import BagError
from lidarloop_core.io import atomic, regular_file

_MOST_BYTES = 1 << 50  # a recording may be larger than the memory: it is read record by record
_MAGIC = b"\x89MCAP0\r\n"
_FRAME_SIZE = 9  # kind and length of a record
_CHUNK_HEADER_SIZE = 28  # start and end time, uncompressed size, checksum; the compression's name follows


@dataclass(frozen=True)
class Salvage:
    """Result of a salvage.

    Attributes:
        message_counts: topic → number of messages recovered.
        expected_counts: topic → number of messages recorded, by the statistics at the file's end; None if lost.
        num_bytes: size of the recording.
        num_bytes_lost: size of its broken chunks, messages and header; 0 if only the index at the end is missing.
        is_whole: whether nothing is missing.
    """

    message_counts: Mapping[str, int]
    expected_counts: Mapping[str, int] | None
    num_bytes: int
    num_bytes_lost: int
    is_whole: bool


def salvage(path: Path | str, dst: Path | str) -> Salvage:
    """Copies every complete message of an MCAP file into a new file that any reader accepts.

    Args:
        path: the recording, intact or damaged.
        dst: the file to write; it appears only when it is complete.

    Raises:
        BagError: the file is missing, is no MCAP, or holds no complete message.
    """
    path, dst = Path(path), Path(dst)
    try:
        with (
            regular_file.opened(path, _MOST_BYTES) as raw,
            io.BufferedReader(cast(io.RawIOBase, raw)) as file,
            atomic.replacing(dst) as temporary,
            temporary.open("wb") as out,
        ):
            wreck = _Wreck(file, path)
            writer = Writer(out, compression=CompressionType.NONE)
            writer.start(profile=wreck.profile, library="lidarloop salvage")
            copied = _Copier(writer)
            for record in wreck.records():
                copied.add(record)
            finish: Any = writer.finish  # mcap does not declare its type
            finish()
            if not copied.message_counts:
                raise BagError(f"{path} holds no complete message in its {wreck.num_bytes} bytes; nothing to salvage")
    except OSError as error:
        raise BagError(f"{path} cannot be salvaged to {dst} ({error.strerror}); check both paths") from None
    return Salvage(
        message_counts=copied.message_counts,
        expected_counts=copied.expected_counts(),
        num_bytes=wreck.num_bytes,
        num_bytes_lost=wreck.num_bytes_lost + copied.num_bytes_lost,
        is_whole=wreck.has_end and wreck.num_bytes_lost + copied.num_bytes_lost == 0,
    )


class _Copier:
    """Writes schemas, channels and messages again, under new numbers."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._schemas: dict[int, int] = {0: 0}  # 0 stands for "none"
        self._channels: dict[int, tuple[int, str]] = {}
        self._statistics: Statistics | None = None
        self.message_counts: dict[str, int] = {}
        self.num_bytes_lost = 0

    def add(self, record: Any) -> None:
        if isinstance(record, Schema) and record.id not in self._schemas:
            self._schemas[record.id] = self._writer.register_schema(record.name, record.encoding, record.data)
        elif isinstance(record, Channel) and record.id not in self._channels and record.schema_id in self._schemas:
            schema = self._schemas[record.schema_id]
            number = self._writer.register_channel(record.topic, record.message_encoding, schema, record.metadata)
            self._channels[record.id] = (number, record.topic)
        elif isinstance(record, Message):
            self._add_message(record)
        elif isinstance(record, Statistics):
            self._statistics = record

    def _add_message(self, message: Message) -> None:
        if message.channel_id not in self._channels:  # it was announced in a chunk that is lost
            self.num_bytes_lost += len(message.data)
            return
        channel, topic = self._channels[message.channel_id]
        self._writer.add_message(channel, message.log_time, message.data, message.publish_time, message.sequence)
        self.message_counts[topic] = self.message_counts.get(topic, 0) + 1

    def expected_counts(self) -> dict[str, int] | None:
        if self._statistics is None:
            return None
        counts: dict[str, int] = {}
        for channel, count in self._statistics.channel_message_counts.items():
            _, topic = self._channels.get(channel, (0, ""))
            counts[topic] = counts.get(topic, 0) + count
        return counts


class _Wreck:
    """The records of a file that may break off anywhere."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.num_bytes = path.stat().st_size
        self.num_bytes_lost = 0
        self.has_end = False
        if file.read(len(_MAGIC)) != _MAGIC:
            raise BagError(f"{path} is no MCAP file; expected one, intact or cut short: only these can be salvaged")
        kind, body, is_complete = self._next() or (0, b"", False)
        header = next(self._parsed(kind, body), None) if is_complete and kind == Opcode.HEADER else None
        self.profile = "ros2" if header is None else header.profile

    def records(self) -> Iterator[Any]:
        """Schemas, channels and messages in the order of the file, and the statistics at its end."""
        while (record := self._next()) is not None:
            kind, body, is_complete = record
            if kind == Opcode.CHUNK:
                yield from self._chunk(body) if is_complete else self._cut_chunk(body)
            elif not is_complete:
                self.num_bytes_lost += len(body) if kind == Opcode.MESSAGE else 0
            elif kind == Opcode.FOOTER:
                self.has_end = self._file.read(len(_MAGIC)) == _MAGIC
                return
            else:
                yield from self._parsed(kind, body)

    def _next(self) -> tuple[int, bytes, bool] | None:
        """Kind and body of the next record, and whether the body is complete; None at the file's end."""
        frame = self._file.read(_FRAME_SIZE)
        if len(frame) < _FRAME_SIZE:
            return None
        kind, length = struct.unpack_from("<BQ", frame)
        # A length from a damaged frame may be anything: no more than the file's size is read.
        body = self._file.read(min(length, self.num_bytes))
        return kind, body, len(body) == length

    def _chunk(self, body: bytes) -> Iterator[Any]:
        try:
            stream, size = get_chunk_data_stream(Chunk.read(_stream(body)), validate_crc=True)
            content = stream.read(size)
        except Exception:  # a broken checksum, or any error of a decompressor
            self.num_bytes_lost += len(body)
            return
        yield from self._content(content)

    def _cut_chunk(self, body: bytes) -> Iterator[Any]:
        content = _uncompressed_content(body)
        if content is None:
            self.num_bytes_lost += len(body)
        else:
            yield from self._content(content)

    def _content(self, content: bytes) -> Iterator[Any]:
        """The records of a chunk, as far as they go."""
        start = 0
        while start + _FRAME_SIZE <= len(content):
            kind, length = struct.unpack_from("<BQ", content, start)
            stop = start + _FRAME_SIZE + length
            if stop > len(content):
                break
            yield from self._parsed(kind, content[start + _FRAME_SIZE : stop])
            start = stop
        self.num_bytes_lost += len(content) - start

    def _parsed(self, kind: int, body: bytes) -> Iterator[Any]:
        """The record, if it is of a kind to be copied and can be parsed."""
        try:
            if kind == Opcode.HEADER:
                yield Header.read(_stream(body))
            elif kind == Opcode.MESSAGE:
                yield Message.read(_stream(body), len(body))
            elif kind == Opcode.SCHEMA:
                yield Schema.read(_stream(body))
            elif kind == Opcode.CHANNEL:
                yield Channel.read(_stream(body))
            elif kind == Opcode.STATISTICS:
                yield Statistics.read(_stream(body))
        except (McapError, struct.error, ValueError):
            self.num_bytes_lost += len(body)


def _uncompressed_content(body: bytes) -> bytes | None:
    """The records in a chunk that breaks off, as far as they go; None if they are compressed, or there is none."""
    if len(body) < _CHUNK_HEADER_SIZE + 4:
        return None
    (name_length,) = struct.unpack_from("<I", body, _CHUNK_HEADER_SIZE)
    return None if name_length else body[_CHUNK_HEADER_SIZE + 4 + 8 :]


def _stream(body: bytes) -> ReadDataStream:
    return ReadDataStream(BytesIO(body))
