"""Parameters whose type is said."""

from __future__ import annotations

from typing import Any

from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions

_BOOLS = {"true": True, "false": False}


class ParameterValue:
    """A value that is text while launching and must become `value_type`."""

    def __init__(self, value: Any, *, value_type: type) -> None:
        if value_type not in (str, bool):
            raise TypeError(f"this stand-in knows no parameters of {value_type}")
        self.value = normalize_to_list_of_substitutions(value)
        self.value_type = value_type

    def evaluate(self, context: Any) -> str | bool:
        text = perform_substitutions(context, self.value)
        if self.value_type is str:
            return text
        if text.lower() not in _BOOLS:
            raise ValueError(f"cannot convert '{text}' to bool")
        return _BOOLS[text.lower()]
