"""The criteria of a soak: the memory's slope after the warm-up, and growth of threads and files."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here: neither apt's nor the pip wheels")

from benchmarks.checks import Context
from benchmarks.onboard import load


def soak(rss_mb: list[float], threads: list[int], files: list[int]) -> load.Soak:
    return load.Soak(
        command=["soak"],
        machine={},
        commit="",
        seed=0,
        frames=[50 * (i + 1) for i in range(len(rss_mb))],
        rss_mb=rss_mb,
        threads=threads,
        files=files,
        num_lost=0,
        frames_per_s=20.0,
    )


def test_slope_leaves_the_warm_up_out() -> None:
    # 100 MB during the warm-up, then 2 MB per 10,000 frames.
    rss_mb = [300 + (100 * i / 29 if i < 29 else 100 + 2 * 50 * (i - 29) / 10_000) for i in range(100)]
    assert soak(rss_mb, [9] * 100, [9] * 100).slope_mb_per_10k() == pytest.approx(2.0, abs=1e-3)


def test_growth_is_counted_from_the_end_of_the_warm_up() -> None:
    run = soak([300.0] * 10, [5, 5, 9, 9, 9, 10, 9, 9, 9, 9], [20] * 10)
    assert run.growth("threads") == 1
    assert run.growth("files") == 0


def test_a_missing_long_run_falls_short_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "STORED_SOAK", tmp_path / "missing.json")
    monkeypatch.delenv("FULL", raising=False)
    row = next(load.check_soak(Context(tmp_path, tmp_path, tmp_path)))
    assert row.holds is False
    assert "FULL=1" in row.note
