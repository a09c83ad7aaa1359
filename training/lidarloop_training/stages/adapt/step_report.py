"""Time and memory of the steps of a long command, on the console and in a file that outlives an interruption."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lidarloop_core.io import atomic, outside
from lidarloop_training.data.writing.pseudo_labels import as_json

_INTERVAL_S = 0.5
_PROC = Path("/proc")


class StepReport:
    """Steps in the order in which they began; one that is taken up again adds to its time.

    Args:
        path: JSON file: {"steps": [{"name", "seconds", "peak_mb", "finished"}, …]}.
        console: where each step is announced.
    """

    def __init__(self, path: Path, console: Console) -> None:
        self.path = path
        self.console = console
        self.rows: list[dict[str, Any]] = outside.read_json(path)["steps"] if path.is_file() else []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures what is done inside; written also where it is interrupted. A finished step is not measured again."""
        row = self._row(name)
        if row["finished"]:
            yield
            return
        self.console.print(f"== {name}", highlight=False)
        before, started = float(row["seconds"]), time.monotonic()
        memory = _Memory()
        try:
            with memory:
                yield
            row["finished"] = True
        finally:
            row["seconds"] = round(before + time.monotonic() - started, 1)
            if memory.peak_mb is not None:
                row["peak_mb"] = max(row["peak_mb"] or 0.0, round(memory.peak_mb, 1))
            self._write()
        self.console.print(f"   {self._figures(row)}", highlight=False)

    def table(self) -> Table:
        """All steps, and their sum."""
        table = Table("step", "time", "peak memory")
        for row in self.rows:
            table.add_row(row["name"], _clock(row["seconds"]), _megabytes(row["peak_mb"]))
        peaks = [row["peak_mb"] for row in self.rows if row["peak_mb"] is not None]
        total = sum(row["seconds"] for row in self.rows)
        table.add_section()
        table.add_row("all", _clock(total), _megabytes(max(peaks, default=None)))
        return table

    def _row(self, name: str) -> dict[str, Any]:
        for row in self.rows:
            if row["name"] == name:
                return row
        self.rows.append({"name": name, "seconds": 0.0, "peak_mb": None, "finished": False})
        return self.rows[-1]

    def _write(self) -> None:
        atomic.write_bytes(self.path, as_json({"steps": self.rows}))

    @staticmethod
    def _figures(row: dict[str, Any]) -> str:
        return f"{_clock(row['seconds'])}, {_megabytes(row['peak_mb'])}"


class _Memory:
    """The most memory that this process and those it started had at once, megabytes; None where it is not known.

    Pages that several processes share count once (Linux's proportional set size), those that lie in swap as well.
    """

    def __init__(self) -> None:
        self.peak_mb: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory of a step", daemon=True)

    def __enter__(self) -> _Memory:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            self._look()

    def _look(self) -> None:
        found = memory_mb()
        if found is not None:
            self.peak_mb = max(self.peak_mb or 0.0, found)


def memory_mb() -> float | None:
    """Memory of this process and of all that it started, megabytes; None where /proc does not tell."""
    found = [size for pid in _family("self") if (size := _own_mb(pid)) is not None]
    return sum(found) if found else None


def _family(pid: str) -> Iterator[str]:
    """A process and its descendants."""
    yield pid
    for children in (_PROC / pid / "task").glob("*/children"):
        try:
            pids = children.read_text().split()
        except OSError:  # it has ended
            continue
        for child in pids:
            yield from _family(child)


def _own_mb(pid: str) -> float | None:
    try:
        text = (_PROC / pid / "smaps_rollup").read_text()
    except OSError:  # no Linux, or it has ended
        return None
    sizes_kb = (text.partition(f"\n{name}:")[2].split()[:1] for name in ("Pss", "SwapPss"))
    return sum(float(size) for words in sizes_kb for size in words) / 1024


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _megabytes(size: float | None) -> str:
    return "–" if size is None else f"{size:,.0f} MB"
