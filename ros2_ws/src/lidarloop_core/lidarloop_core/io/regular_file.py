"""Reading a file that a user named: a regular one, of a bounded size, within a bounded time.

A path may lead to a FIFO, a device or a file that never ends; opening or reading those blocks, or fills the memory.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

READ_WITHIN_S = 60.0
_CHUNK_BYTES = 1 << 22


class UnreadableFileError(OSError):
    """No regular file, one that is too large, or one that does not come within the time; ``strerror`` says which."""


@contextmanager
def opened(path: Path, most_bytes: int) -> Iterator[BinaryIO]:
    """Opens a regular file for reading without ever waiting for it.

    Raises:
        OSError: the file is missing, may not be read, is no regular file, or has more than ``most_bytes``.
    """
    # Not even opened if it is another kind of file: for some devices that has effects.
    _require_regular(path.stat(), path, most_bytes)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        _require_regular(os.fstat(descriptor), path, most_bytes)
        yield file


def read_bytes(path: Path, most_bytes: int, *, within_s: float = READ_WITHIN_S) -> bytes:
    """All bytes of a regular file.

    Args:
        path: the file.
        most_bytes: largest size that is read, bytes.
        within_s: longest time that reading may take, seconds; judged between pieces of 4 MiB.

    Raises:
        OSError: as ``opened``, or the file did not come within the time, or grew beyond its size meanwhile.
    """
    end_s = time.monotonic() + within_s
    with opened(path, most_bytes) as file:
        size = os.fstat(file.fileno()).st_size
        data = bytearray()
        while chunk := file.read(min(_CHUNK_BYTES, size + 1 - len(data))):
            data += chunk
            if len(data) > size:
                raise _unreadable(path, f"it grew beyond {size} bytes while it was read")
            if time.monotonic() > end_s:
                raise _unreadable(path, f"only {len(data)} of {size} bytes came within {within_s:g} s")
    return bytes(data)


def read_text(path: Path, most_bytes: int) -> str:
    """The text of a regular file; what is no UTF-8 becomes U+FFFD. Raises OSError as ``read_bytes``."""
    return read_bytes(path, most_bytes).decode(errors="replace")


def require(path: Path, most_bytes: int) -> None:
    """Holds a path against the limits before a library opens it by its name.

    Raises:
        OSError: as ``opened``.
    """
    with opened(path, most_bytes):
        pass


def _require_regular(status: os.stat_result, path: Path, most_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _unreadable(path, "it is a folder, expected a file")
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable(path, "it is a pipe, a device or a socket, expected a regular file")
    if status.st_size > most_bytes:
        raise _unreadable(path, f"it has {status.st_size} bytes, expected at most {most_bytes}")


def _unreadable(path: Path, reason: str) -> UnreadableFileError:
    return UnreadableFileError(0, reason, str(path))
