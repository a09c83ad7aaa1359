"""Parameters of the nodes: a frozen dataclass says each one's default, range and meaning once; the rest is derived.

rclpy ignores a misspelt key of a parameter file and dies of a value of the wrong type. Here neither happens: every
override that cannot be used is a problem that the node reports, and refuses to be configured with.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from lidarloop_core.errors import ConfigError


def _param(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A field whose metadata is the parameter's descriptor; ``live`` ones take effect while the node is configured."""
    metadata = {"description": description, "low": low, "high": high, "choices": choices, "live": live}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DetectorParams:
    """Parameters of ``lidar_detector``."""

    model: str = _param("", "Path of model.onnx as `lidarloop export` wrote it. Range, classes and columns lie inside.")
    providers: tuple[str, ...] = _param(
        ("CPUExecutionProvider",), "ONNX Runtime execution providers; each must really be in use, or configuring fails."
    )
    num_threads: int = _param(0, "Threads of one inference; 0: as many as there are cores.", low=0, high=256)
    score_threshold: float = _param(0.1, "Boxes below this score are left out.", low=0.0, high=1.0, live=True)
    nms_iou: float = _param(
        0.2, "Of two boxes of a class that overlap more than this (BEV IoU), the weaker is left out.",
        low=0.0, high=1.0, live=True,
    )  # fmt: skip
    motion_source: str = _param(
        "odometry",
        "Where the ego-motion between sweeps comes from: `odometry` (nav_msgs/Odometry on ~/input/odometry), "
        "`tf` (odom_frame to the cloud's frame), or `none` (the newest sweep alone is used).",
        choices=("odometry", "tf", "none"),
    )
    base_frame: str = _param(
        "base_link", "The odometry's child frame; /tf_static must lead from it to the cloud's frame."
    )
    odom_frame: str = _param("odom", "Fixed frame that `motion_source: tf` measures the motion in.")
    motion_timeout_s: float = _param(
        0.05, "Longest wait for the ego-motion of a cloud; after it the newest sweep is used alone, and said so.",
        low=0.0, high=1.0,
    )  # fmt: skip
    max_points: int = _param(
        1_000_000, "Merged clouds above this are thinned evenly, and said so.", low=1_000, high=10_000_000
    )
    publish_markers: bool = _param(True, "Publish ~/markers for RViz and Foxglove while somebody subscribes.")


Params = TypeVar("Params", bound=DetectorParams)


def declare(node: Node, params: type[Params]) -> list[str]:
    """Declares every parameter with its descriptor; returns one line for each override that cannot be used."""
    problems = []
    for field in dataclasses.fields(params):
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        descriptor = _descriptor(field)
        try:
            node.declare_parameter(field.name, default, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException):
            node.declare_parameter(field.name, default, descriptor, ignore_override=True)
            received = overrides(node)[field.name].value
            problems.append(f"parameter '{field.name}': {_mismatch(field, received)}")
    return problems


def read(node: Node, params: type[Params]) -> Params:
    """The parameters' present values.

    Raises:
        ConfigError: a value that is none of its choices.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(params):
        value = node.get_parameter(field.name).value
        if reason := _unacceptable(field, value):
            raise ConfigError(f"parameter '{field.name}': {reason}")
        values[field.name] = tuple(value) if isinstance(field.default, tuple) else value
    return params(**values)


def refusal(params: type[DetectorParams], changes: Iterable[Parameter], *, configured: bool) -> str | None:
    """Why ``changes`` must not be taken now, or None. Types and ranges are already checked by the descriptors."""
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
    """One line for each override that no declared parameter answers to, with the name that was probably meant.

    Args:
        node: with its parameters declared.
        but_qos: pass over QoS overrides, which are declared only with the publisher or subscription they belong to.
    """
    known = list(node._parameters)
    return [
        _unknown(name, known)
        for name in overrides(node)
        if not (node.has_parameter(name) or (but_qos and name.startswith("qos_overrides.")))
    ]


def overrides(node: Node) -> dict[str, Parameter]:
    """What the command line and the parameter files set for this node; rclpy has no public way to ask."""
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
    return None


def _mismatch(field: dataclasses.Field[Any], received: Any) -> str:
    default = field.default
    kind = "list of strings" if isinstance(default, tuple) else type(default).__name__
    within = f" from {field.metadata['low']} to {field.metadata['high']}" if field.metadata["low"] is not None else ""
    return f"received {received!r} ({type(received).__name__}); expected a {kind}{within}, e.g. {default!r}"
