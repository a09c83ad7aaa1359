"""The most memory that a process has had."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_mb() -> float:
    """The largest resident memory of this process so far, megabytes.

    From /proc where there is one: getrusage's figure begins with what the process had that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
