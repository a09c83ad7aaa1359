"""What a soak is judged by: the slope after the warm-up, and growth of threads and files."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here: neither apt's nor the pip wheels")


@pytest.fixture
def onboard_load(monkeypatch, repository):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import onboard_load

    yield onboard_load
    for name in ("onboard_load", "checks"):
        sys.modules.pop(name, None)


def a_soak(onboard_load, rss_mb, threads, files):
    frames = [50 * (i + 1) for i in range(len(rss_mb))]
    return onboard_load.Soak(
        command=["soak"],
        machine={},
        commit="",
        seed=0,
        frames=frames,
        rss_mb=rss_mb,
        threads=threads,
        files=files,
        num_lost=0,
        frames_per_s=20.0,
    )


def test_the_slope_is_of_what_comes_after_the_warm_up(onboard_load):
    # 100 MB during the warm-up, then 2 MB per 10,000 frames.
    rss_mb = [300 + (100 * i / 29 if i < 29 else 100 + 2 * 50 * (i - 29) / 10_000) for i in range(100)]
    assert a_soak(onboard_load, rss_mb, [9] * 100, [9] * 100).slope_mb_per_10k() == pytest.approx(2.0, abs=1e-3)


def test_growth_is_counted_from_the_end_of_the_warm_up(onboard_load):
    run = a_soak(onboard_load, [300.0] * 10, [5, 5, 9, 9, 9, 10, 9, 9, 9, 9], [20] * 10)
    assert run.growth("threads") == 1
    assert run.growth("files") == 0


def test_a_long_run_that_is_not_there_falls_short_at_once(onboard_load, monkeypatch, tmp_path):
    monkeypatch.setattr(onboard_load, "STORED_SOAK", tmp_path / "missing.json")
    monkeypatch.delenv("FULL", raising=False)
    row = next(onboard_load.check_soak(None))
    assert row.holds is False
    assert "FULL=1" in row.note
