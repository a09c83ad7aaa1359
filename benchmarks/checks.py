"""What every check command shares: rows that hold or fall short, their table, and the file they are written to.

Real samples are looked for in $LIDARLOOP_REAL_DATA, else in ../shared/data; rows that need them are skipped where they
are missing. Long studies keep their raw results in results/*.json; a check recomputes its rows from these and runs a
small part anew. FULL=1 runs everything anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lidarloop_core.cli import main as main_command
from lidarloop_core.io import atomic
from lidarloop_core.machine import machine, versions

NO_DATA = "skipped: no real data"
REAL_DATA = Path(os.environ.get("LIDARLOOP_REAL_DATA", "../shared/data"))
OUT = Path("out/checks")
REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED_MODEL = REPOSITORY / "models/pillar-toytown.onnx"


def runs_studies() -> bool:
    """Whether long studies run anew, instead of a part of each beside its stored results."""
    return os.environ.get("FULL") == "1"


@dataclass(frozen=True)
class Row:
    """One promise, or a figure that is reported beside one.

    Attributes:
        what: the quantity with its unit and conditions, in words.
        value: measured value; None where it was skipped.
        target: what the value is compared with, in words; "" where it is only reported.
        holds: whether the target is met; None where nothing was judged.
        note: reason for skipping, or the error that broke the check; "" by default.
    """

    what: str
    value: float | None
    target: str
    holds: bool | None
    note: str = ""

    def __post_init__(self) -> None:
        if self.holds is not None:
            object.__setattr__(self, "holds", bool(self.holds))


def at_least(what: str, value: float, target: float) -> Row:
    return Row(what, value, f"≥ {target:g}", bool(value >= target))


def at_most(what: str, value: float, target: float) -> Row:
    return Row(what, value, f"≤ {target:g}", bool(value <= target))


def report_only(what: str, value: float, note: str = "") -> Row:
    """A figure for the reader, without a target."""
    return Row(what, float(value), "", None, note)


def all_of(what: str, number: int, of: int) -> Row:
    return Row(what, number, f"all {of}", number == of > 0)


@dataclass(frozen=True)
class Context:
    """The folders that a check reads and writes.

    Attributes:
        data: folder of the real samples.
        out: folder of what is kept.
        scratch: empty folder, deleted afterwards.
    """

    data: Path
    out: Path
    scratch: Path


Check = Callable[[Context], Iterator[Row]]
"""Yields rows; an exception becomes a row that falls short."""


def rows_of(check: Check, context: Context) -> list[Row]:
    """A check's rows; an exception ends it with a row that falls short."""
    place = replace(context, scratch=context.scratch / check.__name__)
    place.scratch.mkdir()
    rows = []
    try:
        for row in check(place):
            rows.append(row)
            print(f"{ {True: 'ok  ', False: 'MISS', None: 'none'}[row.holds] } {row.what}", file=sys.stderr)
    except Exception as error:  # the other checks still run
        traceback.print_exc()
        rows.append(Row(check.__name__.replace("_", " "), None, "runs", False, f"{type(error).__name__}: {error}"))
    return rows


def run_checks(
    name: str,
    checks: Sequence[Check],
    *,
    needing_data: Sequence[Check] = (),
    data: Path = REAL_DATA,
    out: Path = OUT,
    seed: int = 0,
) -> int:
    """Runs all checks, prints their rows and writes OUT/NAME.json; the exit code is 1 if one falls short.

    Args:
        name: file name of the result, without its ending.
        checks: all checks, in order of running.
        needing_data: subset of ``checks`` that needs real samples.
        data: folder of the real samples.
        out: folder to write to.
        seed: random seed of the checks, recorded in the file.
    """
    has_data = (data / "nuscenes_keyframe").is_dir()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(data, out, Path(scratch))
        for check in checks:
            if check in needing_data and not has_data:
                rows.append(Row(check.__name__.replace("_", " "), None, "", None, NO_DATA))
            else:
                rows += rows_of(check, context)
    return finish(rows, out / f"{name}.json", seed)


def finish(rows: list[Row], path: Path, seed: int) -> int:
    """Prints the table, writes it with seed, commit, machine and versions; returns 1 if a row falls short, else 0."""
    _show(rows)
    document = {
        "command": sys.argv,
        "seed": seed,
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "rows": [asdict(row) for row in rows],
    }
    atomic.write_bytes(path, as_json(document))
    print(path)
    return int(any(row.holds is False for row in rows))


def lidarloop(*words: object) -> None:
    """Runs a ``lidarloop`` command line in this process.

    Raises:
        RuntimeError: if its exit code is not 0.
    """
    line = [str(word) for word in words]
    try:
        code = main_command(line)
    except SystemExit as refused:  # wrong usage, found while the words were parsed
        code = int(refused.code or 0)
    if code:
        raise RuntimeError(f"received exit code {code} of `lidarloop {' '.join(line)}`; expected 0")


def as_json(document: Any) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, default=_number) + "\n").encode()


def _number(value: Any) -> Any:
    """numpy's scalars as Python's."""
    return value.item()


def commit() -> str:
    try:
        command = ("git", "describe", "--always", "--dirty", "--abbrev=40")
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _show(rows: list[Row]) -> None:
    table = Table("what", "value", "target", "holds")
    for row in rows:
        holds = {True: "[green]yes[/green]", False: "[red]NO[/red]", None: row.note}[row.holds]
        table.add_row(row.what, "" if row.value is None else f"{row.value:.4g}", row.target, holds)
    Console().print(table)
