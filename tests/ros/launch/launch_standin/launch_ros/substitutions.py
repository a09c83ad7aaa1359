"""Values that come from the index of installed packages."""

from __future__ import annotations

import shutil
from typing import Any

from ament_index_python.packages import get_package_prefix
from launch.substitutions import Substitution, SubstitutionFailure


class ExecutableInPackage(Substitution):
    def __init__(self, executable: str, package: str) -> None:
        self._executable = executable
        self._package = package

    def perform(self, context: Any) -> str:
        folder = f"{get_package_prefix(self._package)}/lib/{self._package}"
        found = shutil.which(self._executable, path=folder)
        if found is None:
            raise SubstitutionFailure(f"executable '{self._executable}' not found on the libexec directory '{folder}'")
        return found
