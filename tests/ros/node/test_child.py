"""A child ends with its parent, however the parent ends and whenever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")

# Starts the child and says its process id; the child says on the pipe that it runs, and then sleeps.
PARENT = """
import subprocess, sys, time
from lidarloop_ros.node import child
process = subprocess.Popen(child.command("sleeper", ["and", "arguments"]), stdout=sys.stdout)
time.sleep(600)
"""
SLEEPER = """
import os, sys, time
if __name__ == "__main__":
    print(os.getpid(), *sys.argv[1:], flush=True)
    time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pid, *arguments = parent.stdout.readline().split()
    assert arguments == ["and", "arguments"]
    assert not is_gone(int(pid))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while not is_gone(int(pid)):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.01)


def test_a_child_whose_parent_has_already_ended_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    command = [sys.executable, "-m", "lidarloop_ros.node.child", dead.stdout.strip(), "sleeper"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert result.returncode == 1
    assert "has ended" in result.stderr
    assert not result.stdout
