"""``python -m lidarloop_ros.node.child PARENT MODULE ARGUMENTS``: runs a module as a child that ends with its parent.

A parent that is killed cannot end its children. A node that outlives its replay would go on answering on its DDS
domain, and the next replay would meet it there.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def command(module: str, arguments: Sequence[str] = ()) -> list[str]:
    """The command line that runs ``module`` as a child of this process.

    It is to be started by a thread that lives as long as the process: the kernel takes that thread for the parent.
    """
    return [sys.executable, "-m", __name__, str(os.getpid()), module, *arguments]


def end_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent ends; ends it at once where the parent has ended already.

    Args:
        parent: process id of the parent that started this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Between its start and the call above the parent may have ended: then this process has another parent by now.
    if os.getppid() != parent:
        sys.exit(f"the parent process {parent} has ended")


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
