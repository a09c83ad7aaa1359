"""What docstrings owe their readers, as rules that a program can check.

    python -m tests.architecture.docstrings [PATH ...]     # prints each docstring that falls short

A rule applies where its subject occurs: a function of arrays gives their shapes, one of lengths, times or angles their
units, one that raises its errors. Frames are left to readers: a box or a point has one only where it lies somewhere.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOTS = (
    "ros2_ws/src/lidarloop_core/lidarloop_core",
    "ros2_ws/src/lidarloop_ros/lidarloop_ros",
    "training/lidarloop_training",
    "export/lidarloop_export",
    "benchmarks",
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = tuple[str, Callable[[str], object]]
"""What is owed, and whether a docstring gives it."""

_ARRAY = re.compile(r"NDArray|\bTensor\b|\bndarray\b|\b(?:Float|Bool|U?Int)\w*Array\b")
_DIMENSION = r"(?:…|\.\.\.|[≥≤] ?)?[\w']*(?: ?[×*·+/−-] ?[\w']+)*(?: or \w+| [≥≤] \w+)?"
# "(N, 3)", "(B, C, H, W)", "(N,)", "(K)", "(P·20, 5)", "(num_points, C)"; or in words.
_SHAPE = re.compile(
    rf"\((?=[^()]*(?:[A-Z0-9…]|num_)){_DIMENSION}(?:, ?{_DIMENSION})+,?\)"
    r"|\((?:[A-Z]\d?'?|\d+),?\)|\((?:[A-Z]\w*|num_\w+),\)"
    r"|\bscalars?\b|\b0-d\b|\bshaped? like\b|\bsame shape\b"
)
_MEASURED = {
    "distance", "radius", "height", "width", "length", "depth", "range", "size", "speed", "time", "timeout", "duration",
    "period", "age", "angle", "yaw", "heading",
}  # fmt: skip
"""Words in the name of a float that has a unit."""

_UNIT_SUFFIXES = (
    "m", "m2", "cm", "rad", "deg", "s", "ns", "us", "ms", "mps", "mpss", "radps", "hz", "px", "mb", "gb", "percent",
    "share", "ratio", "factor",
)  # fmt: skip
_UNIT_WORDS = re.compile(
    r"(?<!['’])\b(met(er|re)s?|[cmk]?m|rad(ian)?s?|m?s|ns|(milli|micro|nano)?seconds?|px|pixels?|degrees?|hertz|Hz|MB|"
    r"bytes|percent|shares?|points|unit-?less)\b|°|m/s"
)
_GENITIVE = re.compile(
    r"^\s+[a-z_][a-zA-Z0-9_, ]*: (?:of [^=]|(?:in|for) (?:the|its|their|each|a|an|all|it|them|every)\b)"
)
_RAISES = re.compile(r"\bRaises:|\braises?\b|\brefuse[sd]?\b", re.IGNORECASE)
_NOT_OF_USERS = ("IndexError", "KeyError", "AssertionError", "StopIteration", "NotImplementedError")


class Shortfall(NamedTuple):
    """One docstring that lacks something.

    Attributes:
        path: file, relative to the repository.
        line: line number of the function or attribute, from 1.
        name: the function's name, or the attribute's line.
        missing: what is missing, e.g. ``"shapes"``.
    """

    path: str
    line: int
    name: str
    missing: str


class PublicFunction(NamedTuple):
    """A function or method that other modules may call, to which at least one rule applies.

    Attributes:
        line: line number of its ``def``, from 1.
        name: dotted, with its class where it has one.
        missing: what its docstring owes and does not give; empty if it is complete.
    """

    line: int
    name: str
    missing: tuple[str, ...]


def bare_genitives(source: str) -> Iterator[tuple[int, str]]:
    """Attribute docs that give the owner of a thing and not what it is ("lanes: of the map"): line number and text."""
    for number, line in enumerate(source.splitlines(), 1):
        if _GENITIVE.match(line):
            yield number, line.strip()


def public_functions(source: str) -> Iterator[PublicFunction]:
    """Public functions and methods of a module to which at least one rule applies.

    A method may leave to its class's docstring what is the same for all of them.
    """
    tree = ast.parse(source)
    raising = _raising_functions(tree)
    for prefix, owner_doc, scope in _public_scopes(tree):
        for node in _functions(scope):
            if node.name.startswith("_"):
                continue
            owed = _owed(node, raises=prefix + node.name in raising)
            if owed:
                doc = f"{ast.get_docstring(node) or ''}\n{owner_doc}"
                missing = tuple(what for what, is_given in owed if not is_given(doc.replace("`", "")))
                yield PublicFunction(node.lineno, prefix + node.name, missing)


def _public_scopes(tree: ast.Module) -> Iterator[tuple[str, str, ast.Module | ast.ClassDef]]:
    """(prefix of names, docstring that all its functions share, body) of the module and of its public classes."""
    yield "", "", tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield f"{node.name}.", ast.get_docstring(node) or "", node


def _functions(scope: ast.Module | ast.ClassDef) -> list[Function]:
    return [node for node in scope.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def _owed(node: Function, *, raises: bool) -> list[Rule]:
    """The rules that apply to a function."""
    if any(ast.unparse(d).split("(")[0].split(".")[-1] in ("overload", "override") for d in node.decorator_list):
        return []
    arguments = [
        a for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if a.arg not in ("self", "cls")
    ]
    types = [(a.arg, ast.unparse(a.annotation)) for a in arguments if a.annotation is not None]
    types += [(node.name, ast.unparse(node.returns))] if node.returns is not None else []
    owed: list[Rule] = []
    if any(_ARRAY.search(annotation) for _, annotation in types):
        owed.append(("shapes", _SHAPE.search))
    if any(_needs_unit(name) for name, annotation in types if re.search(r"\bfloat\b", annotation)):
        owed.append(("units", _UNIT_WORDS.search))
    if raises:
        owed.append(("errors", _RAISES.search))
    return owed


def _needs_unit(name: str) -> bool:
    """Whether a float of this name has a unit that the name does not give."""
    words = name.lower().strip("_").split("_")
    return words[-1] not in _UNIT_SUFFIXES and any(word in _MEASURED or word.rstrip("s") in _MEASURED for word in words)


def _raising_functions(tree: ast.Module) -> set[str]:
    """Functions and methods that raise an error of the user's, themselves or through private ones of the module."""
    bodies: dict[str, Function] = {node.name: node for node in _functions(tree)}
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        bodies |= {f"{owner.name}.{node.name}": node for node in _functions(owner)}
    raising = {name for name, node in bodies.items() if _raises_itself(node)}
    while True:
        through = {name for name, node in bodies.items() if _private_calls(name, node, bodies) & raising}
        if through <= raising:
            return raising
        raising |= through


def _raises_itself(node: ast.AST) -> bool:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Raise) and isinstance(inner.exc, ast.Call):
            name = ast.unparse(inner.exc.func).split(".")[-1]
            if name.endswith("Error") and name not in _NOT_OF_USERS:
                return True
    return False


def _private_calls(name: str, node: Function, bodies: Mapping[str, Function]) -> set[str]:
    """The module's private functions and methods that one calls; calls inside a ``try`` may be handled there."""
    owner, dot, _ = name.rpartition(".")
    handled = {
        id(call)
        for block in ast.walk(node)
        if isinstance(block, ast.Try)
        for statement in block.body
        for call in ast.walk(statement)
    }
    called = set()
    for call in ast.walk(node):
        if not isinstance(call, ast.Call) or id(call) in handled:
            continue
        text = ast.unparse(call.func)
        called.add(f"{owner}{dot}{text[5:]}" if text.startswith("self.") else text)
    return {one for one in called & bodies.keys() if one.rpartition(".")[2].startswith("_")}


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


def num_incomplete(found: Sequence[Shortfall]) -> int:
    """The number of functions with a shortfall; bare genitives are not counted."""
    return len({(row.path, row.line, row.name) for row in found if row.missing != "what it is"})


def main() -> None:
    repository = Path(__file__).resolve().parents[2]
    chosen = [path for given in sys.argv[1:] for path in _modules(Path(given).resolve())]
    found, num_functions = shortfalls(repository, chosen)
    for row in found:
        print(f"{row.path}:{row.line}: {row.name}: no {row.missing}")
    genitives, short = sum(row.missing == "what it is" for row in found), num_incomplete(found)
    share = 100 * (1 - short / max(num_functions, 1))
    print(f"{genitives} bare genitives; {num_functions - short} of {num_functions} functions complete ({share:.1f} %)")


def _modules(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


if __name__ == "__main__":
    main()
