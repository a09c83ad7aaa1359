"""Atomic files: written under a temporary name in the same folder, fsynced, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lidarloop_core.errors import ConfigError


def require_output_folder(path: Path, option: str) -> None:
    """Checks, before long work begins, that files can be written to a folder; does not make it.

    Args:
        path: the folder, which need not exist.
        option: what names it on the command line, e.g. ``"--out"``.

    Raises:
        ConfigError: it, or what it would lie in, is no folder or may not be written to.
    """
    nearest = next((p for p in (path, *path.absolute().parents) if os.path.lexists(p)), Path("/"))
    if not nearest.is_dir():
        raise ConfigError(f"{option} received {path}; expected a folder, but {nearest} is none: name another")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} received {path}; expected a folder that may be written to: {nearest} may not")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, which replaces ``path`` at the end of a block without exception.

    On an exception the temporary file is deleted and whatever was at ``path`` stays as it was. Missing parent folders
    are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        yield temporary
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Gives a folder beside ``path`` that lasts for the block; missing parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = temporary_name(path)
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no file has.

    Known before the file is made: whatever interrupts its maker, even a signal right after it was made, can delete it.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def publish(temporary: Path, path: Path) -> None:
    """Renames a finished file to its final name so that a crash at any moment leaves either nothing or all of it."""
    fsync(temporary)
    temporary.replace(path)
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Waits until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
