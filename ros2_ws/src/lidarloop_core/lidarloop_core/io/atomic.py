"""Atomic files: written under a temporary name in the same folder, fsynced, then renamed."""

from __future__ import annotations

import os
import tempfile
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
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; ours are as readable as any the user creates.
        temporary.chmod(0o666 & ~_umask())
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
