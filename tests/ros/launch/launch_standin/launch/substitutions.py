"""Values that are known only while launching."""

from __future__ import annotations

from typing import Any


class SubstitutionFailure(RuntimeError):
    """A value is not to be had."""


class Substitution:
    def perform(self, context: Any) -> str:
        raise NotImplementedError


class TextSubstitution(Substitution):
    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"expected text, received {text!r}")
        self.text = text

    def perform(self, context: Any) -> str:
        return self.text


class LaunchConfiguration(Substitution):
    """The value of a launch argument."""

    def __init__(self, variable_name: str, *, default: Any = None) -> None:
        self.variable_name = variable_name
        self.default = default

    def perform(self, context: Any) -> str:
        value = context.launch_configurations.get(self.variable_name, self.default)
        if value is None:
            raise SubstitutionFailure(f"launch configuration '{self.variable_name}' does not exist")
        return value


class EnvironmentVariable(Substitution):
    def __init__(self, name: str, *, default_value: str | None = None) -> None:
        self.name = name
        self.default_value = default_value

    def perform(self, context: Any) -> str:
        value = context.environment.get(self.name, self.default_value)
        if value is None:
            raise SubstitutionFailure(f"environment variable '{self.name}' does not exist")
        return value


class LocalSubstitution(Substitution):
    """Filled in at the moment of starting a process: never performed here."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
