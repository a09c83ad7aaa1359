from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lidarloop_training.stages.adapt.step_report import StepReport, memory_mb


def report(path: Path) -> StepReport:
    return StepReport(path, Console(file=io.StringIO(), width=100))


def interrupted() -> None:
    time.sleep(0.11)
    raise KeyboardInterrupt


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["steps"]
    return found


def test_a_step_that_was_interrupted_adds_to_its_time_and_a_finished_one_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    with pytest.raises(KeyboardInterrupt), report(path).step("training"):
        interrupted()
    (first,) = rows(path)
    assert first["seconds"] >= 0.1
    assert not first["finished"]
    again = report(path)
    with again.step("training"):
        time.sleep(0.11)
    (second,) = rows(path)
    assert second["seconds"] >= first["seconds"] + 0.1
    assert second["finished"]
    with again.step("training"):
        time.sleep(0.11)
    assert rows(path) == [second]


def test_the_table_has_a_row_for_each_step_and_their_sum(tmp_path: Path) -> None:
    steps = report(tmp_path / "steps.json")
    steps.rows = [
        {"name": "labels", "seconds": 61.0, "peak_mb": 700.0, "finished": True},
        {"name": "training", "seconds": 3.0, "peak_mb": None, "finished": True},
    ]
    text = io.StringIO()
    Console(file=text, width=100).print(steps.table())
    words = [line.split("│")[1:4] for line in text.getvalue().splitlines() if line.startswith("│")]
    assert [[word.strip() for word in row] for row in words] == [
        ["labels", "1 min 01 s", "700 MB"],
        ["training", "3.0 s", "–"],
        ["all", "1 min 04 s", "700 MB"],
    ]


@pytest.mark.skipif(memory_mb() is None, reason="no /proc with the memory of processes")
def test_the_memory_of_a_step_is_its_most(tmp_path: Path) -> None:
    steps = report(tmp_path / "steps.json")
    with steps.step("large"):
        kept = np.ones(200_000_000, np.uint8)
    size_mb = len(kept) / 2**20
    del kept
    (row,) = rows(steps.path)
    now = memory_mb()
    assert now is not None
    # Pages shared with other processes move the sum by tens of megabytes when one of these ends.
    assert 0.5 * size_mb < row["peak_mb"] - now < 1.5 * size_mb
