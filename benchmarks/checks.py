"""What every check command shares: rows that hold or fall short, their table, and the file they are written to.

Real samples are looked for in $LIDARLOOP_REAL_DATA, else in ../shared/data; rows that need them are skipped where there
are none. Long studies keep their raw results in results/*.json; a check recomputes its rows from these and runs a small
part anew. FULL=1 runs everything anew.
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

from lidarloop_core.io import atomic
from lidarloop_core.machine import machine, versions

NO_DATA = "skipped: no real data"
REAL_DATA = Path(os.environ.get("LIDARLOOP_REAL_DATA", "../shared/data"))
OUT = Path("out/checks")


@dataclass(frozen=True)
class Row:
    """One promise, or a figure that is told beside one.

    Attributes:
        what: in words.
        value: as measured; None where it was skipped.
        target: what it is held against, in words; "" where it is only told.
        holds: None where nothing was judged.
        note: why not, or why it broke.
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


def told(what: str, value: float, note: str = "") -> Row:
    """A figure for the reader, which is held against nothing."""
    return Row(what, float(value), "", None, note)


def all_of(what: str, number: int, of: int) -> Row:
    return Row(what, number, f"all {of}", number == of > 0)


@dataclass(frozen=True)
class Context:
    """Where things are: real samples, output, and a folder that is deleted afterwards."""

    data: Path
    out: Path
    scratch: Path


Check = Callable[[Context], Iterator[Row]]
"""Yields rows; one that breaks is a row that falls short."""


def rows_of(check: Check, context: Context) -> list[Row]:
    """A check's rows; those it has not come to when it breaks fall short."""
    place = replace(context, scratch=context.scratch / check.__name__)
    place.scratch.mkdir()
    rows = []
    try:
        for row in check(place):
            rows.append(row)
            print(f"{ {True: 'ok  ', False: 'MISS', None: 'none'}[row.holds] } {row.what}", file=sys.stderr)
    except Exception as error:  # the others still have something to say
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
        name: of the file.
        checks: in order.
        needing_data: those of them that need real samples.
        data: folder of the real samples.
        out: folder to write to.
        seed: of what is random.
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
    """Prints the table, writes it with what it was made by, and returns the exit code: 1 if a row falls short."""
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
