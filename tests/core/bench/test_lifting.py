"""The benchmark of lifting runs and reports what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core import cli
from lidarloop_core.bench import command as benchmark
from lidarloop_core.bench.lifting import time_lifting
from lidarloop_core.labelling.lifting.synthetic_scene import synthetic_scene
from lidarloop_core.labelling.lifting_config import full_lifting


def test_times_a_given_sample() -> None:
    sample, found = synthetic_scene(30, 2)
    times = time_lifting(full_lifting(), sample, found, num_runs=3)
    assert len(times.whole_ms) == 3
    assert times.num_masks == sum(len(masks) for masks in found.values())
    assert times.num_points == sum(len(sweep.points) for sweep in sample.sweeps)
    assert times.num_labels > 0
    assert times.frames_per_s == pytest.approx(1000 / np.median(times.whole_ms))
    stages_ms = np.sum(list(times.stages.values()), axis=0)
    assert (stages_ms <= times.whole_ms).all()


def test_the_command_reports_stages_and_rates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "time_lifting", lambda *args: time_lifting(*args, num_runs=1))
    monkeypatch.setattr(benchmark, "synthetic_scene", lambda: synthetic_scene(30))
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "labelling", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "frames/s" in printed
    names = [row["name"] for row in json.loads(path.read_text())["measurements"]]
    assert {"paper: total", "full: total", "full: fuse cameras"} <= set(names)
