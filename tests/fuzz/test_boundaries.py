"""A few inputs of each boundary; ``make fuzz`` runs thousands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.boundaries import BOUNDARIES

NEEDS_ROS = {"clouds", "motion", "parameters"}
NUM_INPUTS = 25


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_hostile_inputs_give_a_result_or_one_clear_line(
    boundary: str, repository: Path, request: pytest.FixtureRequest
) -> None:
    if boundary in NEEDS_ROS:
        pytest.importorskip("rclpy", reason="no ROS 2 here")
    if boundary == "checkpoints":
        pytest.importorskip("torch", reason="no torch here: pip install lidarloop[train]")
    seed = request.config.getoption("--hypothesis-seed") or "0"
    command = [sys.executable, "-m", "tests.fuzz", "--boundary", boundary, "--num-inputs", str(NUM_INPUTS)]
    done = subprocess.run(
        [*command, "--seed", str(seed), "--num-workers", "1"],
        cwd=repository, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
