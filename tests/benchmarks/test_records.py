from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path

from benchmarks.records import append, matching, read


def test_lines_are_read_back_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "results" / "study.jsonl"
    assert read(path) == []
    append(path, {"arm": "images", "mAP": 0.5})
    append(path, {"arm": "scratch", "mAP": 0.25})
    assert read(path) == [{"arm": "images", "mAP": 0.5}, {"arm": "scratch", "mAP": 0.25}]
    assert matching(read(path), arm="scratch") == [{"arm": "scratch", "mAP": 0.25}]
    assert matching(read(path), arm="scratch", seed=1) == []


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    append(path, {"arm": "images"})
    path.write_bytes(path.read_bytes() + b'{"arm": "scr')
    assert read(path) == [{"arm": "images"}]


def test_several_processes_write_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(partial(_append_numbered, path), range(20))
    assert sorted(record["number"] for record in read(path)) == list(range(20))


def _append_numbered(path: Path, number: int) -> None:
    append(path, {"number": number, "filling": "x" * 5000})
