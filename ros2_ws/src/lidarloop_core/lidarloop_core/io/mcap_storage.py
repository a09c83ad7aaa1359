"""Bags as rosbags reads them, with what is not ROS 2 in them left aside.

rosbags refuses a file with a single schema in another language, e.g. a channel of JSON, one whose header names no
profile, which the MCAP specification allows (mcap.dev/spec, "Header"), and a folder whose metadata.yaml lists a topic
of another encoding than CDR.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader, Schema
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader
from ruamel.yaml import YAML

_METADATA = "metadata.yaml"
_ENCODING = re.compile(r"(serialization_format\W*:\s*)[^\s,}]*")
_ROS_SCHEMAS = frozenset({"ros2msg", "ros2idl", "omgidl", ""})
_HEADER_SIZE_AT = 9  # after the magic bytes and the record's kind
_HEADER_AT = 17


class RosMcapReader(McapReader):
    """The CDR channels of an MCAP file with the profile ``ros2`` or without one."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.schemas = _RosSchemas()

    def _open(self) -> None:
        assert self.bio is not None
        self.bio.close()
        with _NamedProfile(Path(str(self.path))) as named:
            self.bio = named
            super()._open()
        self.bio = Path(str(self.path)).open("rb")  # noqa: SIM115  # closed by the base's ``close``
        self.connections = _of_cdr(self.connections)


class RosSqlite3Reader(Sqlite3Reader):
    """The CDR topics of an sqlite3 file."""

    def open(self) -> None:
        super().open()
        self.connections = _of_cdr(self.connections)


class RosDirectoryReader(DirectoryReader):
    """The CDR topics of a bag's folder."""

    STORAGE_PLUGINS: Mapping[str, Any] = {
        **DirectoryReader.STORAGE_PLUGINS,
        "mcap": RosMcapReader,
        "sqlite3": RosSqlite3Reader,
    }

    def open(self) -> None:
        folder = self.path
        marked: Any = _FolderOfCdr(folder)
        self.path = marked
        try:
            super().open()
        finally:
            self.path = folder
        # Their files, too, leave those topics aside.
        foreign = _foreign_topics(Path(str(folder)) / _METADATA)
        self.connections = [c for c in self.connections if c.topic not in foreign]


class RosReader(Reader):
    """A bag's folder or one of its files."""

    STORAGE_PLUGINS: Mapping[str, Any] = {
        **Reader.STORAGE_PLUGINS,
        "dir": RosDirectoryReader,
        ".mcap": RosMcapReader,
        ".db3": RosSqlite3Reader,
    }


def _of_cdr(connections: list[Connection]) -> list[Connection]:
    return [c for c in connections if getattr(c.ext, "serialization_format", "cdr") == "cdr"]


def _foreign_topics(metadata: Path) -> set[str]:
    """The topics that are not of CDR, by a metadata.yaml that rosbags has accepted."""
    document = YAML(typ="safe").load(metadata.read_text())["rosbag2_bagfile_information"]
    topics = [entry["topic_metadata"] for entry in document["topics_with_message_count"]]
    return {topic["name"] for topic in topics if topic["serialization_format"] != "cdr"}


class _FolderOfCdr:
    """A bag's folder as rosbags' reader asks for it, with every topic's encoding called CDR in its metadata.yaml."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder

    def __truediv__(self, name: Any) -> Any:
        return _MetadataOfCdr(self._folder / name) if name == _METADATA else self._folder / name


class _MetadataOfCdr:
    """The file metadata.yaml; no word but the encodings is touched."""

    def __init__(self, path: Any) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def read_text(self) -> str:
        return _ENCODING.sub(r"\1cdr", self._path.read_text())


class _RosSchemas(dict[int, Schema]):
    """Schemas by number; one in a language that ROS does not have counts as none."""

    def __setitem__(self, number: int, schema: Schema) -> None:
        known = schema.encoding in _ROS_SCHEMAS
        super().__setitem__(number, schema if known else schema._replace(encoding="", data=""))


class _NamedProfile(io.BufferedReader):
    """The file with the profile ``ros2`` in its header where the header names none; no other byte is touched."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        start = super().read(_HEADER_AT + 4)
        self._is_unnamed = len(start) == _HEADER_AT + 4 and start[_HEADER_AT:] == bytes(4)
        self.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        at = self.tell()
        if not self._is_unnamed or at not in (_HEADER_SIZE_AT, _HEADER_AT):
            return super().read(size)
        profile = b"ros2"
        if at == _HEADER_SIZE_AT:
            (length,) = struct.unpack("<Q", super().read(8))
            return struct.pack("<Q", length + len(profile))
        assert size is not None
        return struct.pack("<I", len(profile)) + profile + super().read(size - len(profile))[4:]
