"""What comes from outside: names on their way into paths and topics, JSON, and zip archives, all of them bounded."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import regular_file

_LONGEST_BYTES = 120
_FORBIDDEN_IN_FILES = re.compile(r"[^\w.+\-=@, ]")
_FORBIDDEN_IN_TOPICS = re.compile(r"[^A-Za-z0-9_]")


def safe_name(name: str) -> str:
    """One part of a path: no separator, no leading dot, at most 120 bytes.

    A name that needs no change stays as it is. Of any other the forbidden characters become ``_``, and eight
    hexadecimal digits of the name's hash keep it apart from names that look alike then.
    """
    cleaned = _FORBIDDEN_IN_FILES.sub("_", name).lstrip(". ").rstrip(" ")
    return _marked(name, cleaned)


def topic_part(name: str) -> str:
    """One part of a ROS topic: letters, digits and ``_``, no digit first; otherwise as ``safe_name``."""
    cleaned = _FORBIDDEN_IN_TOPICS.sub("_", name)
    return _marked(name, f"_{cleaned}" if cleaned[:1].isdigit() else cleaned)


def below(root: Path, relative: str, where: str) -> Path:
    """The path of a file that a table names, which must lie below the data's root.

    Links on the disk are followed, for data sets are often put together with them.

    Args:
        root: folder of the data.
        relative: name of the file, relative to the root.
        where: the table, for the error.

    Raises:
        DatasetError: the name is no text, is absolute, or leads above the root.
    """
    if (
        not isinstance(relative, str)
        or not relative
        or "\0" in relative
        or PureWindowsPath(relative).is_absolute()
        or PurePosixPath(relative).is_absolute()
        or ".." in PurePosixPath(relative.replace("\\", "/")).parts
    ):
        raise DatasetError(
            f"{where}: names the file {str(relative)[:200]!r}; expected one below {root}: the table is damaged or not "
            "to be trusted"
        )
    return root / relative


def _marked(name: str, cleaned: str) -> str:
    if cleaned == name and name and len(name.encode()) <= _LONGEST_BYTES:
        return name
    digits = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    kept = cleaned.encode(errors="replace")[: _LONGEST_BYTES - 9].decode(errors="ignore")
    return f"{kept}_{digits}"


MOST_JSON_BYTES = 4 << 30
"""Size above which a JSON file is not read; the largest table of nuScenes' trainval split has 1.3 GB."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """The value in a JSON file.

    Args:
        path: a regular file.
        most_bytes: largest size that is read, bytes.

    Raises:
        OSError: it is missing, may not be read, is no regular file, or is too large.
        ValueError: as ``parse_json``.
    """
    return parse_json(regular_file.read_bytes(path, most_bytes))


DAMAGED_ZIP = (
    OSError,
    EOFError,
    RuntimeError,  # an encrypted member; NotImplementedError, which is one, for an unknown compression
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
"""What the standard library raises for an archive that is damaged, encrypted or of a compression it does not know."""


def read_member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """One member's bytes, with its checksum verified.

    Args:
        archive: the open archive.
        name: name of the member.
        most_bytes: largest size that is unpacked, bytes. The archive's word for the size is not relied on.

    Raises:
        KeyError: there is no such member.
        ValueError: it is larger.
        OSError, EOFError, RuntimeError, BadZipFile, zlib.error, struct.error: see ``DAMAGED_ZIP``.
    """
    with archive.open(name) as member:
        data = member.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"{name} unpacks to more than {most_bytes} bytes")
    return data
