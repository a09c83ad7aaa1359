"""What can happen to a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch.events import Event


class _ProcessEvent(Event):
    def __init__(
        self, *, action: Any, name: str, cmd: Sequence[str], cwd: str | None, env: Mapping[str, str] | None, pid: int
    ) -> None:
        self.action = action


class ProcessStarted(_ProcessEvent):
    pass


class ProcessExited(_ProcessEvent):
    def __init__(self, *, returncode: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.returncode = returncode
