"""docs/faults.md: which tests there are for each fault, read from their sources, and how a run of them went."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.ros.faults.fault_table import Fault

TESTS = Path(__file__).resolve().parents[2]
HEAD = """\
# Faults and their answers

Each row is tested on real ROS 2, with the node in a process of its own. Written by the run of the tests:

    python -m pytest tests/ros -m fault --faults-page docs/faults.md

| fault | answer | tests | result |
|---|---|---|---|
"""


class FaultTest(NamedTuple):
    """A test function that carries the mark ``fault``."""

    fault: str
    path: str
    name: str


def marked_tests() -> list[FaultTest]:
    """All of them, in the order of files and lines, without importing any."""
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        source = path.read_text()
        if "mark.fault(" not in source:
            continue
        for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
            found += [FaultTest(key, str(path.relative_to(TESTS)), function.name) for key in _marks(function)]
    return found


def render(faults: Sequence[Fault], tests: list[FaultTest], outcomes: Mapping[tuple[str, str], set[str]]) -> str:
    """The page.

    Args:
        faults: rows of ``fault_table``.
        tests: tests of all faults.
        outcomes: (path, name) of a test → outcomes of its runs (several where it has parameters).
    """
    rows = []
    for key, fault, answer in faults:
        own = [test for test in tests if test.fault == key]
        names = "<br>".join(f"`{test.path}::{test.name}`" for test in own)
        results: set[str] = set().union(*(outcomes.get((test.path, test.name), {"not run"}) for test in own))
        rows.append(f"| {fault} | {answer} | {names} | {', '.join(sorted(results))} |\n")
    return HEAD + "".join(rows)


def _marks(function: ast.FunctionDef) -> list[str]:
    """The keys of the decorators ``@pytest.mark.fault(KEY)``."""
    return [
        ast.literal_eval(call.args[0])
        for call in function.decorator_list
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "fault"
    ]
