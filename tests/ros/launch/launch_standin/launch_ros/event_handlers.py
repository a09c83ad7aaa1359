"""What is done when a node has changed its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launch.event_handlers import EventHandler
from launch_ros.actions import LifecycleNode
from launch_ros.events.lifecycle import StateTransition


class OnStateTransition(EventHandler):
    def __init__(
        self,
        *,
        entities: Sequence[Any],
        target_lifecycle_node: LifecycleNode,
        start_state: str | None = None,
        goal_state: str | None = None,
    ) -> None:
        super().__init__(
            matcher=lambda event: (
                isinstance(event, StateTransition)
                and event.action == target_lifecycle_node
                and start_state in (None, event.start_state)
                and goal_state in (None, event.goal_state)
            ),
            entities=entities,
        )
