"""Parameters of the nodes: a frozen dataclass says each one's default, range and meaning once; the rest is derived.

rclpy ignores a misspelt key of a parameter file and dies of a value of the wrong type. Here neither happens: every
override that cannot be used is a problem that the node reports, and refuses to be configured with.
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
from lidarloop_core.inference.postprocess import Postprocessing, parse_overlaps, parse_renamings, parse_thresholds


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
        default: also says the type.
        description: for people.
        low, high: bounds, both included.
        choices: of a text, if only these are allowed.
        check: raises ConfigError for a text that is not acceptable.
        live: takes effect while the node is configured.
    """
    metadata = {
        "description": description, "low": low, "high": high, "choices": choices, "check": check, "live": live,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class NodeParams:
    """What every node's parameters have in common: that they are such a dataclass."""


@dataclass(frozen=True)
class MotionParams(NodeParams):
    """Where the ego-motion comes from."""

    motion_source: str = param(
        "odometry",
        "Where the ego-motion between sweeps comes from: `odometry` (nav_msgs/Odometry on ~/input/odometry), "
        "`tf` (odom_frame to the cloud's frame), or `none` (the newest sweep alone is used).",
        choices=("odometry", "tf", "none"),
    )
    base_frame: str = param(
        "base_link", "The odometry's child frame; /tf_static must lead from it to the cloud's frame."
    )
    odom_frame: str = param("odom", "Fixed frame that `motion_source: tf` measures the motion in.")
    motion_timeout_s: float = param(
        0.05, "Longest wait for the ego-motion of a cloud; after it the newest sweep is used alone, and said so.",
        low=0.0, high=1.0,
    )  # fmt: skip


@dataclass(frozen=True)
class DetectorParams(MotionParams):
    """Parameters of ``lidar_detector``."""

    model: str = param(
        "",
        "Path of model.onnx as `lidarloop export` wrote it. Range, classes and columns lie inside. Set while the node "
        "is configured, another model is loaded beside the one in use and swapped in; ~/load_model says how that went.",
        live=True,
    )
    backend: str = param(
        "onnxruntime",
        "What runs the model: `onnxruntime` on `providers`, or `tensorrt` (builds its engine if the cache has none).",
        choices=("onnxruntime", "tensorrt"),
    )
    providers: tuple[str, ...] = param(
        ("CPUExecutionProvider",), "ONNX Runtime execution providers; each must really be in use, or configuring fails."
    )
    sweeps_on_gpu: bool = param(
        False,
        "With `backend: tensorrt`: sweeps are kept, moved by ego-motion, merged and grouped on the GPU, which is sent "
        "the newest one alone.",
    )
    num_threads: int = param(
        0, "Threads of one inference on the CPU; 0: one per core. Leave a core to a self-labeller beside it.",
        low=0, high=256,
    )  # fmt: skip
    score_threshold: float = param(0.1, "Boxes below this score are left out.", low=0.0, high=1.0, live=True)
    score_thresholds: str = param(
        "", "Thresholds of single classes, also by range (m): `car: 0.35; pedestrian: 0.2 <20, 0.3 <40, 0.4`.",
        check=parse_thresholds, live=True,
    )  # fmt: skip
    nms_iou: float = param(
        0.2, "Of two boxes of a class that overlap more than this (BEV IoU), the weaker is left out.",
        low=0.0, high=1.0, live=True,
    )  # fmt: skip
    nms_ious: str = param(
        "", "The same for single published classes: `pedestrian: 0.5; car: 0.1`.", check=parse_overlaps, live=True
    )
    class_remap: str = param(
        "",
        "Classes published as others: `construction_vehicle: truck; car: truck >12.1; barrier:` (the second for cars "
        "of more than 12.1 m² of ground, the third leaves barriers out).",
        check=parse_renamings, live=True,
    )  # fmt: skip
    without_motion: str = param(
        "single_sweep", "A cloud without ego-motion is used alone (`single_sweep`), or dropped (`drop`).",
        choices=("single_sweep", "drop"),
    )  # fmt: skip
    motion_error_after_s: float = param(
        5.0, "So long without ego-motion is an ERROR, before that a WARN.", low=0.0, high=3600.0, live=True
    )
    max_age_s: float = param(
        1.0,
        "Clouds older than this when they arrive, or from the future, are dropped; 0: stamps are not held against the "
        "clock. Stamps more than a day old are of another clock: they are let in with a WARN.",
        low=0.0, high=3600.0,
    )  # fmt: skip
    missing_intensity: str = param(
        "reject",
        "Clouds without intensity, for a model that takes it: `reject` them, or use `zeros` and say so.",
        choices=("reject", "zeros"),
    )
    non_finite_warn_share: float = param(
        0.5, "A larger share of points without a finite position is a WARN.", low=0.0, high=1.0, live=True
    )
    expected_rate_hz: float = param(
        0.0, "Fewer clouds a second than 80 % of this are a WARN; 0: not judged.", low=0.0, high=100.0, live=True
    )
    extra_points_topics: tuple[str, ...] = param(
        ("",),  # ROS cannot tell the type of an empty list
        "Clouds of further LiDARs, joined to those of ~/input/points by stamp, mounting (/tf_static) and ego-motion.",
    )
    extra_points_delay_s: tuple[float, ...] = param(
        (0.05,), "How long each of them may be late; one value for all, or one each. A missing one is left out: WARN."
    )
    tracking: bool = param(
        False, "Publish ~/tracks and ~/track_boxes: detections followed over time, with ids. Needs ego-motion."
    )
    autoware_objects: bool = param(
        False,
        "Publish ~/objects (autoware_perception_msgs/DetectedObjects) for Autoware; that package must be installed.",
    )
    max_points: int = param(
        1_000_000, "Merged clouds above this are thinned evenly, and said so.", low=1_000, high=10_000_000
    )
    publish_markers: bool = param(True, "Publish ~/markers for RViz and Foxglove while somebody subscribes.")

    @property
    def extra_lidars(self) -> dict[str, float]:
        """Topic → how long (s) its cloud may be late. Raises ConfigError if the numbers of both disagree."""
        topics = [topic for topic in self.extra_points_topics if topic]
        delays_s = list(self.extra_points_delay_s)
        if len(delays_s) not in (1, len(topics)) or any(not 0 <= delay <= 1 for delay in delays_s):
            raise ConfigError(
                f"parameter 'extra_points_delay_s' received {delays_s}; expected one value from 0 to 1, or one "
                f"for each of {len(topics)} topics"
            )
        return dict(zip(topics, delays_s * len(topics) if len(delays_s) == 1 else delays_s, strict=True))

    def postprocessing(self) -> Postprocessing:
        """The thresholds, suppression and renaming. Raises ConfigError for a text of another form."""
        return Postprocessing(
            self.score_threshold,
            self.nms_iou,
            parse_thresholds(self.score_thresholds),
            parse_overlaps(self.nms_ious),
            parse_renamings(self.class_remap),
        )


Params = TypeVar("Params", bound=NodeParams)


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


def read(node: Node, params: type[Params], changes: Iterable[Parameter] = ()) -> Params:
    """The parameters' values, with ``changes`` to them.

    Raises:
        ConfigError: a value that is none of its choices, or a text of another form.
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
    if check := field.metadata["check"]:
        try:
            check(value)
        except ConfigError as error:
            return str(error)
    return None


def _mismatch(field: dataclasses.Field[Any], received: Any) -> str:
    default = field.default
    kind = type(default).__name__
    if isinstance(default, tuple):
        kind = "list of strings" if isinstance(default[0], str) else "list of numbers"
    within = f" from {field.metadata['low']} to {field.metadata['high']}" if field.metadata["low"] is not None else ""
    return f"received {received!r} ({type(received).__name__}); expected a {kind}{within}, e.g. {default!r}"
