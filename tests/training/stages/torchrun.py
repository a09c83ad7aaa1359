"""Runs of torchrun's processes on this machine, and what their checkpoints are compared by."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

NUM_STEPS = 4
"""Steps of every run that is compared."""


def run_two_processes(script: Path, out: Path, repository: Path) -> None:
    """Runs a script over gloo in two processes of one thread each; OUT is its only argument."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [*command, str(script), str(out)],
        capture_output=True,
        text=True,
        check=False,
        cwd=repository,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]


def newest(run: Path) -> Path:
    """The checkpoint of a run's last step."""
    return run / "checkpoints" / f"step-{NUM_STEPS:08d}"


def assert_same_bits(first: Path, second: Path, name: str) -> None:
    """Compares a file of two runs' last checkpoints bit by bit."""
    expected, found = (load_file(newest(run) / name) for run in (first, second))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def assert_close_weights(first: Path, second: Path, rtol: float, atol: float, *, without: str | None = None) -> None:
    """Compares the weights of two runs' last checkpoints; those whose names end in ``without`` are left out."""
    expected, found = (load_file(newest(run) / "model.safetensors") for run in (first, second))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        if without is None or not name.endswith(without):
            torch.testing.assert_close({name: found[name]}, {name: value}, rtol=rtol, atol=atol)
