from __future__ import annotations

import os
import platform
from importlib import metadata

from lidarloop_core.machine import describe_machine, installed_versions


def test_the_machine_has_a_processor_cores_and_memory() -> None:
    found = describe_machine()
    assert found["cpu"]
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["memory_gb"] == round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    assert found["system"] == platform.platform()


def test_versions_leave_out_what_is_not_installed() -> None:
    assert installed_versions(("numpy", "no-such-distribution")) == {
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
    }
