"""Parameters of the nodes: a frozen dataclass gives each one's default, range and meaning; the rest is derived.

rclpy ignores a misspelt key of a parameter file, and a value of the wrong type ends the process. Here neither happens:
the node reports every override that cannot be used, and refuses to be configured with it.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from lidarloop_core.errors import ConfigError


def param(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    check: Callable[[str], object] | None = None,
    live: bool = False,
) -> Any:
    """A field whose metadata is the parameter's descriptor.

    Args:
        default: default value; its type is the parameter's type.
        description: meaning and unit, shown by ``ros2 param describe``.
        low, high: bounds, both included; None: unbounded.
        choices: the values allowed for a text; empty: any.
        check: raises ConfigError for a text that is not acceptable.
        live: whether it may change while the node is configured.
    """
    metadata = {
        "description": description, "low": low, "high": high, "choices": choices, "check": check, "live": live,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class NodeParams:
    """Base of each node's parameters: a frozen dataclass whose fields are made by ``param``."""


Params = TypeVar("Params", bound=NodeParams)


def declare(node: Node, params: type[Params]) -> list[str]:
    """Declares every parameter with its descriptor.

    Returns:
        One line for each override that cannot be used.
    """
    problems = []
    for field in dataclasses.fields(params):
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        descriptor = _descriptor(field)
        given = overrides(node).get(field.name)
        if given is not None and given.type_ == Parameter.Type.NOT_SET:  # rclpy takes it, and any reading of it raises
            node.declare_parameter(field.name, default, descriptor, ignore_override=True)
            problems.append(f"parameter '{field.name}': received no value or an empty list; {_expected(field)}")
            continue
        try:
            node.declare_parameter(field.name, default, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException):
            node.declare_parameter(field.name, default, descriptor, ignore_override=True)
            received = overrides(node)[field.name].value
            problems.append(f"parameter '{field.name}': {_mismatch(field, received)}")
    return problems


def read(node: Node, params: type[Params], changes: Iterable[Parameter] = ()) -> Params:
    """The parameters' values, with ``changes`` to them.

    Raises:
        ConfigError: a value is not among its choices, or a text does not have the expected form.
    """
    values: dict[str, Any] = {}
    changed = {change.name: change.value for change in changes}
    for field in dataclasses.fields(params):
        value = changed[field.name] if field.name in changed else node.get_parameter(field.name).value
        if reason := _unacceptable(field, value):
            raise ConfigError(f"parameter '{field.name}': {reason}")
        values[field.name] = tuple(value) if isinstance(field.default, tuple) else value
    return params(**values)


def refusal(params: type[NodeParams], changes: Iterable[Parameter], *, configured: bool) -> str | None:
    """Why ``changes`` are refused, or None. rclpy has already checked types and ranges by the descriptors."""
    fields = {field.name: field for field in dataclasses.fields(params)}
    for change in changes:
        field = fields.get(change.name)
        if field is None:
            continue
        if reason := _unacceptable(field, change.value):
            return f"parameter '{field.name}': {reason}"
        if configured and not field.metadata["live"]:
            return f"parameter '{field.name}' is read when the node is configured; clean the node up first"
    return None


def unknown_overrides(node: Node, *, but_qos: bool = False) -> list[str]:
    """One line for each override of an undeclared parameter, with the name that was probably meant.

    Args:
        node: the node, with its parameters declared.
        but_qos: whether to skip QoS overrides, which are declared only with their publisher or subscription.
    """
    known = list(node._parameters)
    return [
        _unknown(name, known)
        for name in overrides(node)
        if not (node.has_parameter(name) or (but_qos and name.startswith("qos_overrides.")))
    ]


def overrides(node: Node) -> dict[str, Parameter]:
    """Values that the command line and the parameter files set for this node; rclpy has no public accessor."""
    return node._parameter_overrides


def _unknown(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"parameter '{name}' is unknown; did you mean '{nearest[0]}'?"


def _descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    meta = field.metadata
    descriptor = ParameterDescriptor(
        description=meta["description"],
        additional_constraints=" ".join(
            part
            for part in (
                f"One of: {', '.join(meta['choices'])}." if meta["choices"] else "",
                "Takes effect at once." if meta["live"] else "Read when the node is configured.",
            )
            if part
        ),
    )
    if meta["low"] is not None and isinstance(field.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=meta["low"], to_value=meta["high"], step=0.0)]
    elif meta["low"] is not None:
        descriptor.integer_range = [IntegerRange(from_value=meta["low"], to_value=meta["high"], step=0)]
    return descriptor


def _unacceptable(field: dataclasses.Field[Any], value: Any) -> str | None:
    choices = field.metadata["choices"]
    if choices and value not in choices:
        return f"received '{value}'; expected one of {', '.join(choices)}"
    if check := field.metadata["check"]:
        try:
            check(value)
        except ConfigError as error:
            return str(error)
    return None


def _mismatch(field: dataclasses.Field[Any], received: Any) -> str:
    return f"received {received!r} ({type(received).__name__}); {_expected(field)}"


def _expected(field: dataclasses.Field[Any]) -> str:
    default = field.default
    kind = type(default).__name__
    if isinstance(default, tuple):
        kind = "list of strings" if isinstance(default[0], str) else "list of numbers"
    within = f" from {field.metadata['low']} to {field.metadata['high']}" if field.metadata["low"] is not None else ""
    return f"expected a {kind}{within}, e.g. {default!r}"
