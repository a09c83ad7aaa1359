"""Folders stay small enough to be read at a glance, and all of them are installed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.architecture.imports import SOURCES, modules

MOST_MODULES = 16


def is_data_set(folder: Path) -> bool:
    """A data set's own folder may be as large as its format needs."""
    return folder.parent.name == "data" and folder.parent.parent.name == "lidarloop_training"


@pytest.mark.parametrize("package", SOURCES)
def test_a_folder_holds_at_most_sixteen_modules(repository: Path, package: str) -> None:
    sizes = Counter(module.path.parent for module in modules(repository, package) if not module.is_package)
    too_large = {
        str(folder.relative_to(repository)): size
        for folder, size in sizes.items()
        if size > MOST_MODULES and not is_data_set(folder)
    }
    assert too_large == {}


@pytest.mark.parametrize("package", SOURCES)
def test_every_folder_of_modules_is_a_package(repository: Path, package: str) -> None:
    """setuptools leaves a folder without __init__.py out of what it installs."""
    folders = {module.path.parent for module in modules(repository, package)}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
