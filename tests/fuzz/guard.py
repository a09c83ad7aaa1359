"""Watches a process for files that it opens, makes, moves or removes outside the folders it was given."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Which arguments of an event are paths that it changes, and where the folder is that each is relative to, if open.
_CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),), "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),), "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),), "shutil.move": ((0, None), (1, None)), "shutil.copyfile": ((1, None),),
    "shutil.copytree": ((1, None),),
}  # fmt: skip


class OutsideError(PermissionError):
    """A file outside the allowed folders was about to be read or changed. It was not."""


class Guard:
    """The watch of this process.

    Attributes:
        caught: what was tried outside since ``watching`` began.
    """

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()
        self._allowed: tuple[str, ...] | None = None
        self.caught: list[str] = []

    @staticmethod
    @cache
    def of_process() -> Guard:
        """The only one: an audit hook cannot be taken away again."""
        guard = Guard()
        sys.addaudithook(guard._on_event)
        return guard

    @contextmanager
    def watching(self, allowed: tuple[Path, ...], secrets: tuple[Path, ...]) -> Iterator[None]:
        """While the block runs, other attempts fail and are noted.

        Args:
            allowed: folders that may be written to.
            secrets: files and folders that may not even be read.
        """
        self.caught = []
        self._secrets, self._allowed = tuple(map(str, secrets)), tuple(map(str, allowed))
        try:
            yield
        finally:
            self._allowed = None

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._allowed is None:
            return
        if event == "open":
            path, mode, flags = arguments
            is_write = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & _WRITES)
            self._check(path, is_write)
        elif event in _CHANGES:
            for position, folder in _CHANGES[event]:
                self._check(arguments[position], True, -1 if folder is None else arguments[folder])

    def _check(self, path: Any, is_write: bool, folder: int = -1) -> None:
        """Refuses what is outside; ``folder`` is an open folder that the path is relative to, or -1."""
        if isinstance(path, int):
            return
        try:
            where = Path.cwd() if folder < 0 else Path(f"/proc/self/fd/{folder}").readlink()
            real = os.path.realpath(where / os.fsdecode(path))
        except (ValueError, OSError):  # a zero in it, or too long: the system call refuses it, too
            return
        is_allowed = real == os.devnull or "__pycache__" in real or _is_below(real, self._allowed or ())
        if is_write and not is_allowed:
            self._refuse("write", real)
        if not is_write and _is_below(real, self._secrets):
            self._refuse("read", real)

    def _refuse(self, what: str, path: str) -> None:
        self.caught.append(f"{what} {path}")
        raise OutsideError(f"{what} outside: {path}")


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


class Sandbox:
    """A folder in which inputs are made and read, six levels below its root, where secrets lie.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def case(self, index: int) -> Iterator[Path]:
        """A new folder with an empty ``in`` and ``out``, for one input."""
        folder = self.root / "a" / "b" / "c" / "d" / f"case-{index}"
        for name in ("in", "out"):
            (folder / name).mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def watching(self, folder: Path) -> Any:
        """Lets a block write to the case's ``out`` and to temporary files, and read no secret."""
        secrets = (self.root / "outside", Path("/etc/passwd"))
        return Guard.of_process().watching((folder / "out", self.root / "tmp"), secrets)


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Makes a sandbox; home, current folder and temporary files of this process are in it while the block runs."""
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="lidarloop-fuzz-")))
    for name in ("outside", "home", "tmp", "here"):
        (root / name).mkdir()
    for name in ("evil", "evil.json", "evil.bin"):
        (root / "outside" / name).write_bytes(b"secret")
    environment = {
        "HOME": "home",
        "XDG_CACHE_HOME": "tmp",
        "TMPDIR": "tmp",
        "MPLCONFIGDIR": "tmp",
        "ROS_LOG_DIR": "tmp",
    }
    before, folder, temporary = dict(os.environ), Path.cwd(), tempfile.tempdir
    os.environ.update({key: str(root / name) for key, name in environment.items()})
    os.chdir(root / "here")
    tempfile.tempdir = str(root / "tmp")
    try:
        yield Sandbox(root)
    finally:
        tempfile.tempdir = temporary
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(root, ignore_errors=True)
