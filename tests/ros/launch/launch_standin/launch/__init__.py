"""Stand-in for ROS 2's `launch` and `launch_ros` (Jazzy), on no package index: enough to evaluate a description.

Nothing is started. Names, signatures and results are the real ones, of that part alone which lidarloop's launch files
use; an argument or a kind of value that is not known here raises. Tests put this folder on the path only where the real
packages are not installed, and run unchanged on either.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, MutableMapping
from types import SimpleNamespace
from typing import Any

from launch.action import Action

__all__ = ["Action", "LaunchContext", "LaunchDescription"]


class LaunchContext:
    """Where values are kept while a description is evaluated."""

    def __init__(self) -> None:
        self.launch_configurations: dict[str, Any] = {}
        self.locals = SimpleNamespace()
        self.is_shutdown = False

    @property
    def environment(self) -> MutableMapping[str, str]:
        return os.environ

    def extend_globals(self, extensions: dict[str, Any]) -> None:
        vars(self.locals).update(extensions)


class LaunchDescription:
    """A list of entities."""

    def __init__(self, initial_entities: Iterable[Any] | None = None) -> None:
        self.entities = list(initial_entities or ())
        for entity in self.entities:
            if not isinstance(entity, Action):
                raise TypeError(f"not an action: {entity!r}")
