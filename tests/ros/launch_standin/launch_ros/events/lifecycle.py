"""What can happen to a node with a lifecycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from launch.events import Event
from lifecycle_msgs.msg import TransitionEvent


class ChangeState(Event):
    """Asks nodes to change their state."""

    def __init__(self, *, lifecycle_node_matcher: Callable[[Any], bool], transition_id: int) -> None:
        self.lifecycle_node_matcher = lifecycle_node_matcher
        self.transition_id = transition_id


class StateTransition(Event):
    """A node has changed its state."""

    def __init__(self, *, action: Any, msg: TransitionEvent) -> None:
        self.action = action
        self.start_state = msg.start_state.label
        self.goal_state = msg.goal_state.label
