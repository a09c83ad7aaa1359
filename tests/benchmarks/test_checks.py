"""A check command: its exit code, table and file when rows hold, fall short, break or are skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.checks import NO_DATA, Check, Context, Row, all_of, at_least, at_most, lidarloop, run_checks


def run(tmp_path: Path, *checks: Check, needing_data: tuple[Check, ...] = ()) -> tuple[int, dict[str, Any]]:
    code = run_checks("some", checks, needing_data=needing_data, data=tmp_path / "nowhere", out=tmp_path / "out")
    return code, json.loads((tmp_path / "out" / "some.json").read_text())


def test_rows_without_real_data_are_skipped_and_do_not_fall_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def speed(context: Context) -> Iterator[Row]:
        yield at_least("speed ratio", 40.0, 10)

    def real_clouds(context: Context) -> Iterator[Row]:
        yield all_of("clouds", 0, 1)

    code, document = run(tmp_path, speed, real_clouds, needing_data=(real_clouds,))
    assert code == 0
    assert document["rows"] == [
        {"what": "speed ratio", "value": 40.0, "target": "≥ 10", "holds": True, "note": ""},
        {"what": "real clouds", "value": None, "target": "", "holds": None, "note": NO_DATA},
    ]
    assert {"command", "seed", "commit", "machine", "versions"} <= document.keys()
    assert "speed ratio" in capsys.readouterr().out


def test_a_short_row_and_a_broken_check_give_exit_code_1_and_the_others_still_run(tmp_path: Path) -> None:
    def slow(context: Context) -> Iterator[Row]:
        yield at_least("speed ratio", 4.0, 10)

    def broken(context: Context) -> Iterator[Row]:
        yield all_of("frames", 3, 3)
        raise OSError("no such disk")

    def fine(context: Context) -> Iterator[Row]:
        yield at_most("error", 0.0, 1e-6)

    code, document = run(tmp_path, slow, broken, fine)
    rows = {row["what"]: row for row in document["rows"]}
    assert code == 1
    assert [rows[what]["holds"] for what in ("speed ratio", "frames", "broken", "error")] == [False, True, False, True]
    assert rows["broken"]["note"] == "OSError: no such disk"
    assert run(tmp_path, fine)[0] == 0


def test_all_of_nothing_does_not_hold() -> None:
    assert not all_of("frames", 0, 0).holds


def test_a_command_line_that_fails_breaks_the_check(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="received exit code 1 of `lidarloop view bag"):
        lidarloop("view", "bag", tmp_path / "nowhere.mcap", "--png", tmp_path)


def test_a_command_line_that_is_refused_breaks_the_check(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="received exit code 2 of `lidarloop view bag"):
        lidarloop("view", "bag", tmp_path / "drive.mcap", "--every", 0)
