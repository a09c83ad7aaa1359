"""Whether something is started at all."""

from __future__ import annotations

from typing import Any

from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions


class IfCondition:
    def __init__(self, predicate_expression: Any) -> None:
        self._expression = normalize_to_list_of_substitutions(predicate_expression)

    def evaluate(self, context: Any) -> bool:
        value = perform_substitutions(context, self._expression).strip().lower()
        if value not in ("true", "1", "false", "0"):
            raise RuntimeError(f"expected a boolean, received {value!r}")
        return value in ("true", "1")
