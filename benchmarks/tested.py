"""Rows for what is promised of logic rather than of figures: test files, run and counted."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

from benchmarks.checks import REPOSITORY, Row, all_of


def rows_of_tests(tested: Mapping[str, str]) -> Iterator[Row]:
    """What → its test file; tests that need what is not here skip, and the row says so."""
    for what, path in tested.items():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", path]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=600)
        passed, failed, skipped = (_number(done.stdout, word) for word in ("passed", "failed", "skipped"))
        errors = _number(done.stdout, "error")
        row = all_of(f"{what}: tests passed", passed, passed + failed + errors)
        yield Row(row.what, row.value, row.target + f", {skipped} skipped" * bool(skipped), row.holds)


def _number(text: str, word: str) -> int:
    found = re.findall(rf"(\d+) {word}", text)
    return int(found[-1]) if found else 0
