"""What docstrings owe their readers, as rules that a program can check.

    python -m tests.architecture.docstrings [PATH ...]     # prints each docstring that falls short

A rule applies where its subject occurs: a function of arrays gives their shapes, one that raises names its errors.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOTS = (
    "ros2_ws/src/lidarloop_core/lidarloop_core",
    "ros2_ws/src/lidarloop_ros/lidarloop_ros",
    "training/lidarloop_training",
    "export/lidarloop_export",
)
_ARRAY = re.compile(r"NDArray|\bTensor\b")
# "(N, 3)", "(N,)", "(B, C, H, W)", "(4, 4)", "(K)" or a scalar tensor said to be one.
_SHAPE = re.compile(
    r"\((?:[A-Z0-9][\w' ×*·+-]*|[a-z_]\w*)(?:, ?[^()]*)?,?\)|\bscalar\b|\b0-d\b|\bshaped? like\b|\bsame shape\b"
)
_UNIT_SUFFIXES = ("_m", "_rad", "_s", "_ns", "_ms", "_mps", "_hz", "_px", "_mb", "_gb", "_deg")
_UNIT_WORDS = re.compile(
    r"\b(met(er|re)s?|m|rad(ian)?s?|s|seconds?|ms|ns|pixels?|degrees?|counter-clockwise|unit[- ]less|nanoseconds?)\b"
)
_GENITIVE = re.compile(
    r"^\s+[a-z_][a-zA-Z0-9_, ]*: (?:of [^=]|(?:in|for) (?:the|its|their|each|a|an|all|it|them|every)\b)"
)


class Shortfall(NamedTuple):
    """One docstring that does not say what it has to.

    Attributes:
        path: file, relative to the repository.
        line: line number of the function, class or attribute, from 1.
        name: the function's name, or the attribute's line.
        missing: what is missing, e.g. ``"shapes"``.
    """

    path: str
    line: int
    name: str
    missing: str


class PublicFunction(NamedTuple):
    """A function or method that other modules may call.

    Attributes:
        line: line number of its ``def``, from 1.
        name: dotted, with its class where it has one.
        missing: what its docstring owes and does not give; empty if it is complete.
    """

    line: int
    name: str
    missing: tuple[str, ...]


def bare_genitives(source: str) -> Iterator[tuple[int, str]]:
    """Attribute docs that say whose a thing is and not what it is ("lanes: of the map"): line number and text."""
    for number, line in enumerate(source.splitlines(), 1):
        if _GENITIVE.match(line):
            yield number, line.strip()


def public_functions(source: str) -> Iterator[PublicFunction]:
    """Public functions and methods of a module to which at least one rule applies."""
    tree = ast.parse(source)
    for scope, prefix, owner_doc in [(tree, "", ""), *_public_classes(tree)]:
        for node in scope.body:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name.startswith("_"):
                continue
            owed = _owed(node)
            if owed:
                doc = ast.get_docstring(node) or ""
                given = doc + "\n" + (owner_doc if prefix else "")
                missing = tuple(what for what, is_given in owed if not is_given(given))
                yield PublicFunction(node.lineno, prefix + node.name, missing)


def _public_classes(tree: ast.Module) -> list[tuple[ast.ClassDef, str, str]]:
    return [
        (node, f"{node.name}.", ast.get_docstring(node) or "")
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]


def _owed(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[str, object]]:
    """Which rules apply to a function, each with the test of its docstring."""
    if any(ast.unparse(d).split("(")[0].split(".")[-1] in ("overload", "override") for d in node.decorator_list):
        return []
    arguments = [
        a for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if a.arg not in ("self", "cls")
    ]
    annotations = [ast.unparse(a.annotation) for a in arguments if a.annotation is not None]
    annotations += [ast.unparse(node.returns)] if node.returns is not None else []
    owed: list[tuple[str, object]] = []
    if any(_ARRAY.search(annotation) for annotation in annotations):
        owed.append(("shapes", _SHAPE.search))
    if _raises_users_error(node):
        owed.append(
            ("errors", lambda doc: "Raises:" in doc or " raises " in f" {doc.lower()} " or "refuse" in doc.lower())
        )
    floats = [a.arg for a in arguments if a.annotation is not None and "float" in ast.unparse(a.annotation)]
    lengths = [
        name
        for name in floats
        if re.search(r"(distance|radius|height|width|length|range|size|speed|time|timeout|angle|yaw)", name)
    ]
    if lengths and not all(name.endswith(_UNIT_SUFFIXES) for name in lengths):
        owed.append(("units", _UNIT_WORDS.search))
    return owed


def _raises_users_error(node: ast.AST) -> bool:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Raise) and isinstance(inner.exc, ast.Call):
            name = ast.unparse(inner.exc.func).split(".")[-1]
            if name.endswith("Error") and name not in ("IndexError", "KeyError", "AssertionError", "StopIteration"):
                return True
    return False


def shortfalls(repository: Path, paths: Sequence[Path] = ()) -> tuple[list[Shortfall], int]:
    """All docstrings that fall short, and the number of functions to which a rule applies."""
    found, num_functions = [], 0
    for path in paths or [p for root in ROOTS for p in sorted((repository / root).rglob("*.py"))]:
        source = path.read_text(encoding="utf-8")
        name = str(path.relative_to(repository))
        found += [Shortfall(name, line, text, "what it is") for line, text in bare_genitives(source)]
        for function in public_functions(source):
            num_functions += 1
            found += [Shortfall(name, function.line, function.name, what) for what in function.missing]
    return found, num_functions


def main() -> None:
    repository = Path(__file__).resolve().parents[2]
    chosen = [path for given in sys.argv[1:] for path in _modules(Path(given).resolve())]
    found, num_functions = shortfalls(repository, chosen)
    for row in found:
        print(f"{row.path}:{row.line}: {row.name}: no {row.missing}")
    short = len({(row.path, row.name) for row in found if row.missing != "what it is"})
    genitives = sum(row.missing == "what it is" for row in found)
    share = 100 * (1 - short / max(num_functions, 1))
    print(f"{genitives} bare genitives; {num_functions - short} of {num_functions} functions complete ({share:.1f} %)")


def _modules(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


if __name__ == "__main__":
    main()
