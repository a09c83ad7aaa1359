"""Task settings as JSON, and back: what a checkpoint holds of them."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.distillation.task import DistillationConfig
from lidarloop_training.tasks.fusion.task import FusionConfig
from lidarloop_training.tasks.pretext.masked.task import MaskedBevConfig
from lidarloop_training.tasks.pretext.pictures.task import PictureConfig
from lidarloop_training.tasks.pretext.task import DetectorContrastConfig, SegmenterContrastConfig
from lidarloop_training.tasks.segmentation.task import SegmentationConfig
from lidarloop_training.tasks.task import TaskConfig

C = TypeVar("C")

_TASKS: tuple[type[TaskConfig], ...] = (
    DetectionConfig,
    DistillationConfig,
    FusionConfig,
    SegmentationConfig,
    DetectorContrastConfig,
    SegmenterContrastConfig,
    MaskedBevConfig,
    PictureConfig,
)


def task_type(name: str) -> type[TaskConfig]:
    """The class of the settings of the task with that name.

    Raises:
        ConfigError: there is no such task.
    """
    for config in _TASKS:
        if config.name == name:
            return config
    raise ConfigError(
        f"received a task {name!r}; expected one of {', '.join(config.name for config in _TASKS)}: "
        "use the lidarloop that wrote the checkpoint"
    )


def as_json(value: Any) -> Any:
    """Settings as JSON knows them: dataclasses as objects, a spec as in its model file, tuples as lists."""
    if isinstance(value, ModelSpec):
        return json.loads(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_json(kind: type[C], values: Any) -> C:
    """Reads what ``as_json`` wrote of a dataclass.

    Args:
        kind: the dataclass.
        values: the JSON object.

    Raises:
        ConfigError: fields are missing, unknown, or not of their type.
        ModelFileError: a spec is not readable.
    """
    result: C = _read(kind, values, kind.__name__)
    return result


def _read(kind: Any, value: Any, place: str) -> Any:
    if kind is ModelSpec:
        return ModelSpec.from_json(json.dumps(value))
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return _read_dataclass(kind, value, place)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(kinds) == len(value):
            return tuple(_read(k, v, f"{place}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin in (Union, types.UnionType) and type(None) in arguments:
        (other,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _read(other, value, place)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if value in arguments or (kind is float and type(value) is int) or (isinstance(kind, type) and type(value) is kind):
        return value
    raise ConfigError(f"{place} received {value!r}; expected {getattr(kind, '__name__', kind)}")


def _read_dataclass(kind: Any, values: Mapping[str, Any], place: str) -> Any:
    hints = get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    if wrong := set(values) ^ names:
        raise ConfigError(f"{place} received fields {', '.join(sorted(wrong))} too many or too few")
    return kind(**{name: _read(hints[name], values[name], f"{place}.{name}") for name in values})
