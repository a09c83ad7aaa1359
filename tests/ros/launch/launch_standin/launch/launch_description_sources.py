"""Where an included description comes from."""

from __future__ import annotations

import importlib.util
from typing import Any


class PythonLaunchDescriptionSource:
    def __init__(self, launch_file_path: str) -> None:
        self._path = launch_file_path

    def get_launch_description(self, context: Any) -> Any:
        spec = importlib.util.spec_from_file_location("included_launch", self._path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.generate_launch_description()
