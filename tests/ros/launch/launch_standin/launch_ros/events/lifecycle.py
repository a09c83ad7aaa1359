"""What can happen to a node with a lifecycle."""

from __future__ import annotations

from typing import Any

from launch.events import Event
from lifecycle_msgs.msg import TransitionEvent


class StateTransition(Event):
    """A node has changed its state."""

    def __init__(self, *, action: Any, msg: TransitionEvent) -> None:
        self.action = action
        self.start_state = msg.start_state.label
        self.goal_state = msg.goal_state.label
