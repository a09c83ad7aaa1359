"""What a description can hold, in general."""

from __future__ import annotations

from typing import Any


class Action:
    def __init__(self, *, condition: Any = None) -> None:
        self.condition = condition

    def visit(self, context: Any) -> Any:
        if self.condition is not None and not self.condition.evaluate(context):
            return None
        return self.execute(context)

    def execute(self, context: Any) -> Any:
        raise NotImplementedError
