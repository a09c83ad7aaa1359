"""The command that says whether the promises hold: what it answers when they do, do not, or cannot be tried."""

from __future__ import annotations

import json
import sys

import pytest


@pytest.fixture
def check_data(monkeypatch, repository):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import check_data

    yield check_data
    for name in ("check_data", "checks", "metrics", "readers"):
        sys.modules.pop(name, None)


def run(check_data, monkeypatch, tmp_path, *checks):
    monkeypatch.setattr(check_data, "NEED_NOTHING", checks)
    code = check_data.main(tmp_path / "nowhere", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "data.json").read_text())
    return code, {row["what"]: row for row in document["rows"]}, document


def test_without_real_data_rows_are_skipped_and_nothing_falls_short(check_data, monkeypatch, tmp_path, capsys):
    def speed(context):
        yield check_data.at_least("speed ratio", 40.0, 10)

    code, rows, document = run(check_data, monkeypatch, tmp_path, speed)
    assert code == 0
    assert rows["speed ratio"] == {"what": "speed ratio", "value": 40.0, "target": "≥ 10", "holds": True, "note": ""}
    skipped = [row for row in rows.values() if row["holds"] is None]
    assert len(skipped) == len(check_data.NEED_REAL_DATA)
    assert {row["note"] for row in skipped} == {"skipped: no real data"}
    assert {"command", "seed", "commit", "machine", "versions"} <= document.keys()
    assert "speed ratio" in capsys.readouterr().out


def test_a_row_that_falls_short_and_one_that_breaks(check_data, monkeypatch, tmp_path):
    def slow(context):
        yield check_data.at_least("speed ratio", 4.0, 10)

    def broken(context):
        yield check_data.all_of("frames", 3, 3)
        raise OSError("no such disk")

    def fine(context):
        yield check_data.at_most("error", 0.0, 1e-6)

    code, rows, _ = run(check_data, monkeypatch, tmp_path, slow, broken, fine)
    assert code == 1
    assert [rows[what]["holds"] for what in ("speed ratio", "frames", "broken", "error")] == [False, True, False, True]
    assert rows["broken"]["note"] == "OSError: no such disk"
    assert run(check_data, monkeypatch, tmp_path, fine)[0] == 0


def test_nothing_of_nothing_does_not_hold(check_data):
    assert not check_data.all_of("frames", 0, 0).holds


@pytest.mark.real
def test_readers_are_timed(check_data, real_data):
    drives = {name: drive for name, drive in check_data.readers.real_drives(real_data).items() if "KITTI" in name}
    rows = check_data.readers.measure(drives, 0.02)
    assert {row.source for row in rows} == {"kitti-object", "kitti-raw"}
    for row in rows:
        assert row.num_points > 100_000
        assert row.num_pictures == 1
        assert 0 < row.samples_per_s_with_pictures < row.samples_per_s
