"""Reads the imports of a distribution: which module names which, also inside functions and for type checking alone."""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

SOURCES = {
    "lidarloop_core": "ros2_ws/src/lidarloop_core",
    "lidarloop_ros": "ros2_ws/src/lidarloop_ros",
    "lidarloop_training": "training",
    "lidarloop_export": "export",
    "benchmarks": ".",
}
"""Distribution → the folder that holds it, relative to the repository."""


class Module(NamedTuple):
    """A Python file of a distribution.

    Attributes:
        name: dotted name, e.g. ``"lidarloop_core.pointcloud.decode"``; a package has its folder's.
        path: file, absolute.
        source: its text.
    """

    name: str
    path: Path
    source: str

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


class Violation(NamedTuple):
    """An import that the table does not allow.

    Attributes:
        module: dotted name of the importing module.
        imports: dotted name of what it imports.
        arrow: the folders of both, e.g. ``"pointcloud → model"``.
    """

    module: str
    imports: str
    arrow: str


@functools.cache
def modules(repository: Path, distribution: str) -> tuple[Module, ...]:
    """All modules of a distribution, in order of their paths."""
    root = repository / SOURCES[distribution]
    found = []
    for path in sorted((root / distribution).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if path.name == "__init__.py" else parts)
        found.append(Module(name, path, path.read_text(encoding="utf-8")))
    assert found, f"{distribution} has no modules in {root}"
    return tuple(found)


def imported_packages(source: str) -> set[str]:
    """Top-level packages that a module imports anywhere."""
    return {name.split(".")[0] for name in imported_modules(source, ())}


def imported_modules(source: str, known: Collection[str]) -> set[str]:
    """Dotted names that a module imports anywhere; ``from a import b`` gives a known module ``a.b``, else ``a``."""
    return {f"{module}.{part}" if f"{module}.{part}" in known else module for module, part in _imports(source)}


@functools.cache
def _imports(source: str) -> tuple[tuple[str, str], ...]:
    """(module, part) of each import; the part is ``""`` in ``import module``."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return tuple(found)


def folder_of(name: str, packages: Collection[str]) -> str:
    """The row of the table to which a module belongs: its folder, or itself where it lies beside the folders.

    ``lidarloop_core.labelling.points.erosion`` → ``labelling.points``; ``lidarloop_core.errors`` → ``errors``; the
    distribution's own ``__init__`` → ``""``.
    """
    _, _, inside = name.partition(".")
    if name in packages or "." not in inside:
        return inside
    return inside.rpartition(".")[0]


def folders(found: Iterable[Module]) -> set[str]:
    """All rows that the table of a distribution has to have."""
    found = list(found)
    packages = {module.name for module in found if module.is_package}
    filled = {folder_of(module.name, packages) for module in found if not module.is_package}
    return filled - {""}


def arrows(found: Iterable[Module]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(importing folder, imported folder) → the pairs of modules behind it. Arrows within a folder are left out."""
    found = list(found)
    packages = {module.name for module in found if module.is_package}
    known = {module.name for module in found}
    behind: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for module in found:
        for name in sorted(imported_modules(module.source, known) & known):
            arrow = folder_of(module.name, packages), folder_of(name, packages)
            if arrow[0] != arrow[1] and "" not in arrow:
                behind.setdefault(arrow, []).append((module.name, name))
    return behind


def violations(found: Iterable[Module], table: Mapping[str, Collection[str]]) -> list[Violation]:
    """The imports from folder to folder that the table does not allow."""
    return [
        Violation(module, imported, f"{source} → {target}")
        for (source, target), pairs in sorted(arrows(found).items())
        if target not in table.get(source, ())
        for module, imported in pairs
    ]
