"""Names from files on their way into paths and topics: they lead nowhere but where they are meant to."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from lidarloop_core.errors import DatasetError

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
