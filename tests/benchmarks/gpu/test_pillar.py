"""The GPU script on a CPU, and without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxslim")
pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import torch

from benchmarks.gpu import pillar
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_training.models.detector import NetworkConfig


def test_the_script_runs_on_a_cpu_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small, and without its figures being stored: so the script is known to work before a GPU is at hand."""
    small = NetworkConfig(
        (NUSCENES_CLASSES,),
        pillar_channels=4,
        stage_channels=(4, 4),
        stage_depths=(1, 1),
        neck_channels=4,
        shared_channels=4,
        group_channels=4,
    )
    monkeypatch.setattr(pillar, "widths", lambda: small)
    of = pillar.spec(max_pillars=300, half_range_m=3.2)
    points = np.random.default_rng(0).uniform(-3, 3, (2000, 5)).astype(np.float32)
    pillar.prepare(of, points, tmp_path)
    found = pillar.measure(tmp_path, "cpu", repeat=2)
    assert [(row["way"], len(row["times_ms"])) for row in found["rows"]] == [("PyTorch", 2), ("onnxruntime", 2)]
    assert all(row["flops"] > 1e5 for row in found["rows"])


def test_nothing_is_written_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pillar.main("measure", out=tmp_path / "gpu.json") == 1
    assert list(tmp_path.iterdir()) == []
    assert "nothing written" in capsys.readouterr().err
