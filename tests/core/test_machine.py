from __future__ import annotations

import json
import os
import platform

import numpy as np

from lidarloop_core.machine import load_1min, machine, versions


def test_versions_are_those_of_the_running_interpreter_and_packages() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__


def test_further_distributions_are_added_where_they_are_installed() -> None:
    assert "pytest" not in versions()
    assert "pytest" in versions("pytest", "lidarloop-no-such-distribution")
    assert "lidarloop-no-such-distribution" not in versions("lidarloop-no-such-distribution")


def test_machine_is_plain_json_and_the_same_each_time() -> None:
    found = machine()
    assert json.loads(json.dumps(found)) == found == machine()
    assert set(found) == {"cpu", "int8_instructions", "cores", "memory_gb", "system"}
    assert 1 <= int(found["cores"]) <= (os.cpu_count() or 1)
    assert float(found["memory_gb"]) > 0


def test_load_is_a_number_of_processes() -> None:
    load = load_1min()
    assert load is None or load >= 0
