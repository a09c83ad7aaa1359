from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lidarloop_core.io import atomic


def test_a_finished_block_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    atomic.write_bytes(path, b"one")
    atomic.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic.replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    program = (
        "import sys, pathlib; from lidarloop_core.io import atomic\n"
        "for i in range(10**6): atomic.write_bytes(pathlib.Path(sys.argv[1]), bytes([i % 256]) * 2_000_000)\n"
    )
    for wait_s in (0.0, 0.007, 0.013):
        writer = subprocess.Popen([sys.executable, "-c", program, str(path)])
        try:
            while not path.exists() and writer.poll() is None:
                time.sleep(0.002)
            time.sleep(0.03 + wait_s)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        data = path.read_bytes()
        assert len(data) == 2_000_000
        assert len(set(data)) == 1
        path.unlink()
