"""What a description can hold, in general."""

from __future__ import annotations

from typing import Any


class Action:
    def visit(self, context: Any) -> Any:
        return self.execute(context)

    def execute(self, context: Any) -> Any:
        raise NotImplementedError
