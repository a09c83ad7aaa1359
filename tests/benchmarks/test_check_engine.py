"""The engines' check command with and without a GPU's figures, and its count of tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("onnxslim")
pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from benchmarks import check_distillation, check_engine, check_sparse
from benchmarks.checks import Context, Row


def rows(check: Callable[[Context], Iterator[Row]], tmp_path: Path) -> list[Row]:
    return list(check(Context(tmp_path, tmp_path, tmp_path)))


def test_the_tests_that_are_counted_exist(repository: Path) -> None:
    tested = {**check_engine.TESTED, **check_sparse.TESTED, **check_distillation.TESTED}
    assert [path for path in tested.values() if not (repository / path).is_file()] == []


def test_rows_of_a_gpu_are_skipped_without_its_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check_engine, "GPU_RESULTS", tmp_path / "none.json")
    found = rows(check_engine.check_gpu, tmp_path)
    assert [row.holds for row in found] == [None, None]
    assert {row.note for row in found} == {check_engine.NO_GPU}


def test_figures_of_a_gpu_are_compared_with_the_targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check_engine, "GPU_RESULTS", tmp_path / "gpu.json")
    best = {"way": "PyTorch", "precision": "fp16", "p50_ms": 2.0, "p99_ms": 3.0, "times_floor": 4.0}
    broken = {"way": "onnxruntime", "precision": "fp16", "error": "not installed"}
    (tmp_path / "gpu.json").write_text(
        json.dumps({"gpu": "NVIDIA H200", "rows": [best | {"p50_ms": 9.0}, best, broken]})
    )
    found = rows(check_engine.check_gpu, tmp_path)
    assert [row.holds for row in found if row.holds is not None] == [True, False]


def test_passed_failed_and_skipped_tests_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert False\n@pytest.mark.skip\ndef test_c(): pass\n"
    )
    monkeypatch.setattr(check_engine, "TESTED", {"some": str(tmp_path / "test_some.py")})
    monkeypatch.setattr(check_engine, "REPOSITORY", tmp_path)
    (row,) = rows(check_engine.check_tests, tmp_path)
    assert (row.value, row.target, row.holds) == (1, "all 2, 1 skipped", False)


def test_every_counted_file_of_tests_exists(repository: Path) -> None:
    assert [path for path in check_engine.TESTED.values() if not (repository / path).is_file()] == []
