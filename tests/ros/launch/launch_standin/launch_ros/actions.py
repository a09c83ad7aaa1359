"""Starting nodes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from launch.actions import Action
from launch.substitutions import LocalSubstitution
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from launch_ros.parameter_descriptions import ParameterValue


class _Process(Action):
    def __init__(
        self, *, respawn: Any = False, respawn_delay: float | None = None, output: str = "log", condition: Any = None
    ) -> None:
        super().__init__(condition=condition)


class Node(_Process):
    """A node of any kind, as a process."""

    def __init__(
        self,
        *,
        package: str,
        executable: str,
        name: str | None = None,
        namespace: Any = None,
        arguments: Sequence[Any] = (),
        parameters: Sequence[Any] = (),
        remappings: Sequence[tuple[Any, Any]] = (),
        ros_arguments: Sequence[Any] = (),
        **process: Any,
    ) -> None:
        super().__init__(**process)
        self.node_package = package
        self.node_executable = executable
        self._name = name
        self._full_name: str | None = None
        self.expanded_remapping_rules: list[tuple[str, str]] = []
        self._namespace = normalize_to_list_of_substitutions(namespace or "")
        self._parameters = parameters
        self._remappings = remappings
        first = [LocalSubstitution("executable"), *arguments]
        if ros_arguments:
            first += ["--ros-args", *ros_arguments]
        self.cmd = [normalize_to_list_of_substitutions(argument) for argument in (*first, "--ros-args")]

    @property
    def node_name(self) -> str:
        if self._full_name is None:
            raise RuntimeError("cannot access 'node_name' before executing action")
        return self._full_name

    def _perform_substitutions(self, context: Any) -> None:
        """Complete `cmd`; private in the real one as well."""
        namespace = perform_substitutions(context, self._namespace).strip("/")
        name = self._name or "<node_name_unspecified>"
        self._full_name = f"/{namespace}/{name}" if namespace else f"/{name}"
        for parameters in self._parameters:
            self._extend("--params-file", self._params_file(parameters, context))
        for source, target in self._remappings:
            old, new = (perform_substitutions(context, normalize_to_list_of_substitutions(x)) for x in (source, target))
            self.expanded_remapping_rules.append((old, new))
            self._extend("-r", f"{old}:={new}")

    def _params_file(self, parameters: Any, context: Any) -> str:
        if not isinstance(parameters, Mapping):
            return perform_substitutions(context, normalize_to_list_of_substitutions(parameters))
        values = {}
        for name, value in parameters.items():
            if not isinstance(name, str) or not isinstance(value, str | int | float | ParameterValue):
                raise TypeError(f"this stand-in knows no parameter {name!r}: {value!r}")
            values[name] = value.evaluate(context) if isinstance(value, ParameterValue) else value
        descriptor, path = tempfile.mkstemp(prefix="launch_params_")
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump({self.node_name if self._name else "/**": {"ros__parameters": values}}, file)
        return path

    def _extend(self, *arguments: str) -> None:
        self.cmd += [normalize_to_list_of_substitutions(argument) for argument in arguments]


class LifecycleNode(Node):
    """A node with a lifecycle, as a process."""

    def __init__(self, *, name: str, namespace: Any, **kwargs: Any) -> None:
        super().__init__(name=name, namespace=namespace, **kwargs)
