"""A model's contract as JSON: typed reading of nested dataclasses, and of version 1, flat and for pillars alone.

Reading is total: any text gives a value or one ModelFileError. The structure is checked here, field by field; types
and bounds of the values are checked by the classes themselves.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Sequence
from typing import Any, get_args, get_origin, get_type_hints

from lidarloop_core.bounds import refused
from lidarloop_core.errors import ModelFileError
from lidarloop_core.io import outside

_GRID_OF_VERSION_1 = {
    "x_range_m": "x_range_m",
    "y_range_m": "y_range_m",
    "z_range_m": "z_range_m",
    "pillar_size_m": "cell_size_m",
    "max_points_per_pillar": "max_points_per_pillar",
    "max_pillars": "max_pillars",
}
"""Field of version 1 → field of the grid."""


def read_object(text: str) -> dict[str, Any]:
    """The JSON object in ``text``.

    Raises:
        ModelFileError: no JSON, no object, or nested too deeply.
    """
    try:
        raw: Any = outside.parse_json(text)
    except ValueError as error:
        raise ModelFileError(f"ModelSpec received text that is no JSON ({error}); export the model again") from None
    if not isinstance(raw, dict):
        raise refused("ModelSpec", raw, "a JSON object")
    return raw


def from_version_1(raw: dict[str, Any]) -> dict[str, Any]:
    """The fields of version 2 from those of version 1.

    Raises:
        ModelFileError: a field of the grid or ``max_detections`` is missing, or there is a field of version 2.
    """
    flat = dict(raw)
    missing = {*_GRID_OF_VERSION_1, "max_detections"} - set(flat)
    if wrong := sorted(missing | (set(flat) & {"grid", "outputs"})):
        raise _wrong_fields("ModelSpec", wrong, "of version 1")
    grid = {new: flat.pop(old) for old, new in _GRID_OF_VERSION_1.items()}
    outputs = {"kind": "detection", "max_detections": flat.pop("max_detections")}
    return {**flat, "version": 2, "grid": {"kind": "pillars", **grid}, "outputs": outputs}


def read_fields(kind: type, raw: object, where: str) -> Any:
    """A dataclass from a JSON object of its fields, nested dataclasses included.

    Fields that the constructor does not take (``init=False``) are tags: constants that the object repeats.

    Args:
        kind: the dataclass.
        raw: what ``parse_json`` gave.
        where: names the object in errors, e.g. ``"ModelSpec.grid"``.

    Raises:
        ModelFileError: no object, a field missing or unknown, another tag, or a value that the class refuses.
    """
    if not isinstance(raw, dict):
        raise refused(where, raw, "an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    optional = {name for name, field in fields.items() if field.default is not dataclasses.MISSING and field.init}
    wrong = sorted((set(raw) ^ set(fields)) - (optional - set(raw)))
    if wrong:
        raise _wrong_fields(where, wrong, ", ".join(fields))
    hints = get_type_hints(kind)
    values = {}
    for name, value in raw.items():
        if fields[name].init:
            values[name] = _read_value(hints[name], value, f"{where}.{name}")
        elif value != fields[name].default or isinstance(value, bool):
            raise refused(f"{where}.{name}", value, repr(fields[name].default))
    return kind(**values)


def _wrong_fields(where: str, wrong: list[str], expected: str) -> ModelFileError:
    return ModelFileError(
        f"{where} received fields {reprlib.repr(wrong)} too many or too few; expected the fields {expected}: "
        "export the model again"
    )


def _read_value(hint: Any, raw: object, where: str) -> Any:
    """A value of a field: one of the dataclasses in its type, or what JSON has, arrays as tuples."""
    kinds = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind) and isinstance(kind, type)]
    if not kinds:
        return tuple(raw) if isinstance(raw, list) else raw
    if raw is None and type(None) in get_args(hint):
        return None
    if get_origin(hint) is not tuple:
        return read_fields(_kind_of(kinds, raw, where), raw, where)
    if not isinstance(raw, list):
        raise refused(where, raw, "an array")
    return tuple(read_fields(kinds[0], each, f"{where}[{i}]") for i, each in enumerate(raw))


def _kind_of(kinds: Sequence[type], raw: object, where: str) -> type:
    """The class whose ``kind`` the object names; the only one there is needs no name."""
    tags = {field.default: kind for kind in kinds for field in dataclasses.fields(kind) if field.name == "kind"}
    if not tags:
        return kinds[0]
    tag = raw.get("kind") if isinstance(raw, dict) else raw
    if not isinstance(tag, str) or tag not in tags:
        raise refused(f"{where}.kind", tag, " or ".join(map(repr, tags)))
    return tags[tag]
