"""What a description can hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from launch.action import Action
from launch.event_handlers import EventHandler
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions


class DeclareLaunchArgument(Action):
    def __init__(
        self,
        name: str,
        *,
        default_value: Any = None,
        description: str | None = None,
        choices: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.default_value = None if default_value is None else normalize_to_list_of_substitutions(default_value)
        self.description = description or ""
        self.choices = choices

    def execute(self, context: Any) -> None:
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise RuntimeError(f"required launch argument '{self.name}' was not provided")
            context.launch_configurations[self.name] = perform_substitutions(context, self.default_value)
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise RuntimeError(f"argument '{self.name}' has the value '{value}', valid are {self.choices}")


class SetEnvironmentVariable(Action):
    def __init__(self, name: Any, value: Any) -> None:
        super().__init__()
        self.name = normalize_to_list_of_substitutions(name)
        self.value = normalize_to_list_of_substitutions(value)

    def execute(self, context: Any) -> None:
        name = perform_substitutions(context, self.name)
        context.environment[name] = perform_substitutions(context, self.value)


class OpaqueFunction(Action):
    def __init__(self, *, function: Callable[[Any], Any], condition: Any = None) -> None:
        super().__init__(condition=condition)
        self.function = function

    def execute(self, context: Any) -> Any:
        return self.function(context)


class RegisterEventHandler(Action):
    def __init__(self, event_handler: EventHandler) -> None:
        super().__init__()
        if not isinstance(event_handler, EventHandler):
            raise TypeError(f"not an event handler: {event_handler!r}")
        self.event_handler = event_handler


class TimerAction(Action):
    def __init__(self, *, period: float, actions: Sequence[Action]) -> None:
        super().__init__()
        self.period = period
        self.actions = actions


class ExecuteProcess(Action):
    def __init__(self, *, cmd: Sequence[Any], output: str = "log", on_exit: Any = None) -> None:
        super().__init__()
        self.cmd = [normalize_to_list_of_substitutions(part) for part in cmd]
        self.on_exit = on_exit


class Shutdown(Action):
    def __init__(self, *, reason: str = "reason not given") -> None:
        super().__init__()
        self.reason = reason


class SetLaunchConfiguration(Action):
    def __init__(self, name: str, value: Any) -> None:
        super().__init__()
        self.name = name
        self.value = normalize_to_list_of_substitutions(value)

    def execute(self, context: Any) -> None:
        context.launch_configurations[self.name] = perform_substitutions(context, self.value)


class IncludeLaunchDescription(Action):
    def __init__(self, launch_description_source: Any, *, launch_arguments: Sequence[tuple[str, Any]] = ()) -> None:
        super().__init__()
        self.launch_description_source = launch_description_source
        self.launch_arguments = tuple(launch_arguments)

    def execute(self, context: Any) -> list[Any]:
        description = self.launch_description_source.get_launch_description(context)
        given = [name for name, _ in self.launch_arguments]
        for entity in description.entities:
            if isinstance(entity, DeclareLaunchArgument) and entity.default_value is None and entity.name not in given:
                raise RuntimeError(f"included launch description missing required argument '{entity.name}'")
        return [*(SetLaunchConfiguration(name, value) for name, value in self.launch_arguments), description]
