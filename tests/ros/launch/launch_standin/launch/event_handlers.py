"""What is done when something happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from launch.events import Event
from launch.events.process import ProcessExited, ProcessStarted


class EventHandler:
    def __init__(self, *, matcher: Callable[[Event], bool], entities: Sequence[Any]) -> None:
        self._matcher = matcher
        self._entities = entities

    def matches(self, event: Event) -> bool:
        return self._matcher(event)

    def handle(self, event: Event, context: Any) -> Sequence[Any]:
        return self._entities


class OnProcessStart(EventHandler):
    def __init__(self, *, target_action: Any, on_start: Callable[[ProcessStarted, Any], Sequence[Any]]) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, ProcessStarted) and event.action == target_action, entities=()
        )
        self._on_start = on_start

    def handle(self, event: Event, context: Any) -> Sequence[Any]:
        assert isinstance(event, ProcessStarted)  # or it would not match
        return self._on_start(event, context)


class OnProcessExit(EventHandler):
    def __init__(self, *, target_action: Any, on_exit: Sequence[Any]) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, ProcessExited) and event.action == target_action, entities=on_exit
        )
