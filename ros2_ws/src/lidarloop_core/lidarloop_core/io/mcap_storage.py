"""MCAP files as rosbags reads them, with what is not ROS 2 in them left aside.

rosbags refuses a file with a single schema in another language, e.g. a channel of JSON, and one whose header names no
profile, which the MCAP specification allows (mcap.dev/spec, "Header").
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader, Schema

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
        self.connections = [c for c in self.connections if getattr(c.ext, "serialization_format", "cdr") == "cdr"]


class RosDirectoryReader(DirectoryReader):
    """A bag's folder."""

    STORAGE_PLUGINS: Mapping[str, Any] = {**DirectoryReader.STORAGE_PLUGINS, "mcap": RosMcapReader}


class RosReader(Reader):
    """A bag's folder or one of its files."""

    STORAGE_PLUGINS: Mapping[str, Any] = {
        **Reader.STORAGE_PLUGINS,
        "dir": RosDirectoryReader,
        ".mcap": RosMcapReader,
    }


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
