"""SIGTERM while a command writes: it ends with 130 and leaves nothing behind that is not finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")

COMMANDS = {
    "bag": "convert toytown 7 out/drive.mcap --duration-s 3000 --no-cameras --num-workers 0",
    "bag by two processes": "convert toytown 7 out/drive.mcap --duration-s 3000 --no-cameras --num-workers 2",
    "tables": "convert toytown 7 out/tables --duration-s 60 --no-cameras --num-workers 0",
    "salvage": "convert bag in/drive.mcap out/drive.mcap --salvage",
}


def unfinished(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.name.endswith((".tmp", ".partial", ".replaced")))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag that takes a while to convert."""
    path = tmp_path_factory.mktemp("in") / "drive.mcap"
    command = ["convert", "toytown", "7", str(path), "--duration-s", "10", "--no-cameras", "--num-workers", "0"]
    subprocess.run([sys.executable, "-m", "lidarloop_core.cli", *command], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminated_command_leaves_no_unfinished_file(name: str, tmp_path: Path, recording: Path) -> None:
    (tmp_path / "in").symlink_to(recording.parent)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "lidarloop_core.cli", *COMMANDS[name].split()],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        end_s = time.monotonic() + 120
        while not unfinished(out) and process.poll() is None and time.monotonic() < end_s:
            time.sleep(0.002)
        assert unfinished(out), "it writes under another name first"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert unfinished(out) == []
    assert [p.name for p in out.iterdir()] == []
    assert process.returncode == 130
    assert said.rstrip().endswith("interrupted")
    assert "Traceback" not in said
