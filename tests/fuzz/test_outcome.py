"""What the fuzzing run would miss nothing of: a traceback, a hang, memory, files outside, a process that dies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from lidarloop_core.errors import DatasetError
from tests.fuzz import mutate, outcome, workers
from tests.fuzz.__main__ import fault_lines, table
from tests.fuzz.guard import Sandbox, sandbox
from tests.fuzz.outcome import FAULTS, Outcome, outcome_of, random_of

RUN = {
    "result": lambda folder: (folder / "out" / "a").write_text("asked for"),
    "refusal": lambda folder: refuse("one clear line"),
    "traceback": lambda folder: {}["missing"],
    "hang": lambda folder: time.sleep(60),
    "memory": lambda folder: b"x" * 1_300_000_000,
}


class Wordy(DatasetError):
    """An error that does not bound what it says."""

    def __init__(self, line: str) -> None:
        ValueError.__init__(self, line)


def refuse(line: str) -> None:
    raise Wordy(line)


@pytest.fixture
def place() -> Iterator[Sandbox]:
    with sandbox() as found:
        yield found


def run(place: Sandbox, read: Callable[[Path], object]) -> Outcome:
    return outcome_of(3, lambda rng, folder: lambda: read(folder), Random(0), place)


def busy(folder: Path) -> None:
    while True:
        pass


@pytest.mark.parametrize("kind", RUN)
def test_each_kind_is_recognised(kind: str, place: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "TIME_LIMIT_S", 0.5 if kind == "hang" else 60.0)
    assert run(place, RUN[kind]).kind == kind


def test_an_endless_computation_is_a_hang(place: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "PROCESSOR_LIMIT_S", 0.3)
    found = run(place, busy)
    assert found.kind == "hang"
    assert "of the processor" in found.detail


@pytest.mark.parametrize("line", ["", "two\nlines", "x" * 3000], ids=["empty", "two lines", "long"])
def test_a_refusal_that_is_no_clear_line_is_a_fault(line: str, place: Sandbox) -> None:
    found = run(place, lambda folder: refuse(line))
    assert found.kind == "traceback"
    assert "no clear line" in found.detail


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: Path("evil").write_text("in the current folder"),
        lambda folder: (folder / "in" / "evil").write_text("among the inputs"),
        lambda folder: (folder / "out" / ".." / ".." / "evil").write_text("up"),
        lambda folder: (folder.parent / "evil").mkdir(),
        lambda folder: (folder / "out").rename(folder.parent / "moved"),
        lambda folder: os.remove(folder / "in" / mutate.OUTSIDE),  # noqa: PTH107
        lambda folder: (folder / "in" / mutate.OUTSIDE).read_bytes(),
        lambda folder: Path("/etc/passwd").read_bytes(),
        lambda folder: os.open(folder.parent / "evil", os.O_CREAT | os.O_WRONLY),
        lambda folder: hidden(lambda: Path("/etc/passwd").read_bytes()),
    ],
)
def test_files_outside_are_neither_read_nor_changed(act: Callable[[Path], object], place: Sandbox) -> None:
    (place.root / "a" / "b" / "c" / "d").mkdir(parents=True)
    before = sorted(place.root.rglob("*"))
    assert run(place, act).kind == "outside"
    assert sorted(place.root.rglob("*")) == before


def hidden(act: Callable[[], object]) -> None:
    try:
        act()
    except OSError:
        refuse("it could not be read")


def test_temporary_files_and_what_is_asked_for_are_allowed(place: Sandbox) -> None:
    import shutil
    import tempfile

    def act(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder / "out") as name:
            (Path(name) / "a" / "b").mkdir(parents=True)
            shutil.rmtree(Path(name) / "a")
        with tempfile.NamedTemporaryFile():
            pass

    assert run(place, act).kind == "result"


def test_an_input_is_made_again_by_its_seed() -> None:
    document = {"a": [1.5, "b", None, {"c": [True] * 20}], "d": "e"}
    made = [mutate.json_bytes(random_of(7, "frames", i), document) for i in range(50)]
    assert made == [mutate.json_bytes(random_of(7, "frames", i), document) for i in range(50)]
    assert len(set(made)) > 30
    assert made != [mutate.json_bytes(random_of(8, "frames", i), document) for i in range(50)]


def test_a_process_that_dies_is_one_fault_and_the_rest_goes_on() -> None:
    batch = workers.Batch("tests.fuzz.fatal", 0, 0, 4)
    found = {result.index: result for _, result in workers.run_all([batch], 1)}
    assert [found[i].kind for i in range(4)] == ["result", "traceback", "result", "result"]
    assert "exit code -9" in found[1].detail


def test_faults_are_counted_and_named() -> None:
    faults = [Outcome(i, kind, 1.0, 9.0, "Error: a (b.py:1)") for i, kind in enumerate(FAULTS, 1)]
    found = {"bags": [Outcome(0, "result", 0.25, 3.0), *faults]}
    header, row, total = table(found)
    assert row.split() == ["bags", "5", "1", "0", "1", "1", "1", "1", "1.00", "9"]
    assert total.split()[1:] == row.split()[1:]
    assert header.split()[:3] == ["boundary", "inputs", "result"]
    lines = fault_lines(found, 5)
    assert len(lines) == 4
    assert all("--seed 5 --boundary bags --case" in line for line in lines)
