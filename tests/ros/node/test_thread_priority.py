from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

PROGRAM = """
import os, sys, threading
from lidarloop_ros.node.thread_priority import lower_priority

def work():
    lower_priority()
    found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

os.nice(int(sys.argv[1]))
found = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(*found, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
"""


@pytest.mark.parametrize(("nice", "expected"), [(0, "10 0"), (15, "15 15")])
def test_the_thread_alone_steps_back_and_never_forwards(nice: int, expected: str) -> None:
    """In a process of its own, which may be nicer than asked for already: priority cannot be taken back."""
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    if before:
        pytest.skip(f"these tests run with nice {before}")
    command = [sys.executable, "-c", PROGRAM, str(nice)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == expected
