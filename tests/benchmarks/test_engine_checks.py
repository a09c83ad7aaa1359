"""The engines' check command and its GPU script: what they answer with and without a GPU's figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES

pytest.importorskip("onnxslim")
pytest.importorskip("torch")
pytest.importorskip("onnxscript")

MODULES = ("check_engine", "checks", "engine_precision", "engine_speed", "gpu_pillar")


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch, repository):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def rows(check, tmp_path):
    from checks import Context

    return list(check(Context(tmp_path, tmp_path, tmp_path)))


def test_without_a_gpus_figures_its_rows_are_skipped(monkeypatch, tmp_path):
    import check_engine

    monkeypatch.setattr(check_engine, "GPU_RESULTS", tmp_path / "none.json")
    found = rows(check_engine.check_gpu, tmp_path)
    assert [row.holds for row in found] == [None, None]
    assert {row.note for row in found} == {"no GPU so far"}


def test_a_gpus_figures_are_held_against_the_targets(monkeypatch, tmp_path):
    import check_engine

    monkeypatch.setattr(check_engine, "GPU_RESULTS", tmp_path / "gpu.json")
    best = {"way": "PyTorch", "precision": "fp16", "p50_ms": 2.0, "p99_ms": 3.0, "times_floor": 4.0}
    broken = {"way": "onnxruntime", "precision": "fp16", "error": "not installed"}
    (tmp_path / "gpu.json").write_text(
        json.dumps({"gpu": "NVIDIA H200", "rows": [best | {"p50_ms": 9.0}, best, broken]})
    )
    found = rows(check_engine.check_gpu, tmp_path)
    assert [row.holds for row in found if row.holds is not None] == [True, False]


def test_tests_are_counted(monkeypatch, tmp_path):
    import check_engine

    (tmp_path / "test_some.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert False\n@pytest.mark.skip\ndef test_c(): pass\n"
    )
    monkeypatch.setattr(check_engine, "TESTED", {"some": str(tmp_path / "test_some.py")})
    monkeypatch.setattr(check_engine, "ROOT", tmp_path)
    (row,) = rows(check_engine.check_tests, tmp_path)
    assert (row.value, row.target, row.holds) == (1, "all 2, 1 skipped", False)


def test_every_file_of_tests_is_there(repository: Path):
    import check_engine

    for path in check_engine.TESTED.values():
        assert (repository / path).is_file()


def test_speed_rows_compare_medians():
    import engine_speed

    runs = {engine_speed.SHIPPED: [30.0, 31.0, 90.0], engine_speed.TIDY: [29.0], engine_speed.INT8: [10.0, 15.5, 16.0]}
    (row,) = engine_speed._rows([{"cloud": "toy town", "cpu_ms": runs}], "stored")
    assert row.value == pytest.approx(2.0)
    assert "31.0 → 15.5 ms" in row.what
    assert row.holds


def test_the_gpu_script_runs_on_a_cpu_too(monkeypatch, tmp_path):
    """Small, and without its figures being stored: that the script works is known before a GPU is lent."""
    import gpu_pillar

    from lidarloop_training.models.detector import NetworkConfig

    small = NetworkConfig((NUSCENES_CLASSES,), 4, (4, 4), (1, 1), 4, 4, 4)
    monkeypatch.setattr(gpu_pillar, "widths", lambda: small)
    of = gpu_pillar.spec(max_pillars=300, half_range_m=3.2)
    points = np.random.default_rng(0).uniform(-3, 3, (2000, 5)).astype(np.float32)
    gpu_pillar.prepare(of, points, tmp_path)
    found = gpu_pillar.measure(tmp_path, "cpu", repeat=2)
    assert [(row["way"], len(row["times_ms"])) for row in found["rows"]] == [("PyTorch", 2), ("onnxruntime", 2)]
    assert all(row["flops"] > 1e5 for row in found["rows"])


def test_without_a_gpu_nothing_is_written(monkeypatch, tmp_path, capsys):
    import gpu_pillar
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_pillar.main("measure", out=tmp_path / "gpu.json") == 1
    assert list(tmp_path.iterdir()) == []
    assert "nothing written" in capsys.readouterr().err
