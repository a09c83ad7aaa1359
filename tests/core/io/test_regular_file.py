"""Files that a user names may be anything that has a path."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lidarloop_core.io import regular_file


def test_a_files_bytes_are_read_whole(tmp_path: Path) -> None:
    data = os.urandom(9_000_001)  # more than one piece
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("a")
    assert regular_file.read_bytes(tmp_path / "a", len(data)) == data
    assert regular_file.read_bytes(tmp_path / "link", len(data)) == data
    assert regular_file.read_bytes(tmp_path / "empty", 0) == b""


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "link", tmp_path / "socket", Path("/dev/zero"), Path("/dev/null")):
            with pytest.raises(OSError, match="expected a regular file"):
                regular_file.read_bytes(path, 100)
    with pytest.raises(OSError, match="folder"):
        regular_file.read_bytes(tmp_path, 100)
    with pytest.raises(FileNotFoundError):
        regular_file.read_bytes(tmp_path / "missing", 100)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="symbolic links"):
        regular_file.read_bytes(tmp_path / "round", 100)


def test_a_file_above_the_limit_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="1099511627776 bytes, expected at most 2147483647"):
        regular_file.read_bytes(tmp_path / "sparse", (1 << 31) - 1)


def test_a_file_that_grows_or_comes_too_slowly_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    with pytest.raises(OSError, match="only 10 of 10 bytes came within -1 s"):
        regular_file.read_bytes(tmp_path / "a", 10, within_s=-1)
    status = Path("/proc/self/status")  # its size is given as 0, yet it has content
    if status.exists():
        with pytest.raises(OSError, match="grew beyond 0 bytes"):
            regular_file.read_bytes(status, 100)
