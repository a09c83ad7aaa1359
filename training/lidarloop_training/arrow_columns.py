"""Columns of Arrow tables (Feather, Parquet) from outside: each must hold what its readers count on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pyarrow import types

from lidarloop_core.errors import DatasetError

Kind = Literal["whole numbers", "numbers", "texts"]


def require(column: pa.ChunkedArray, kind: Kind, path: Path, name: str, *, nullable: bool = False) -> None:
    """Checks the type of a column, and that it has no nulls.

    Args:
        column: the column, (N,).
        kind: what it must hold.
        path: its file, for the error.
        name: its name, for the error.
        nullable: whether values may be null, all of them included.

    Raises:
        DatasetError: it holds values of another kind, or nulls.
    """
    if column.null_count and not nullable:
        raise DatasetError(
            f"{path}: received {column.null_count} nulls in column {name}; expected {kind}: restore the file"
        )
    may_be_untyped = nullable or kind == "texts"  # of no row, texts that pandas wrote have no type
    if not (_IS[kind](column.type) or (may_be_untyped and types.is_null(column.type))):
        raise DatasetError(f"{path}: received column {name} of {column.type}; expected {kind}: restore the file")


def _is_number(kind: Any) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _is_text(kind: Any) -> bool:
    value_kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(value_kind) or types.is_large_string(value_kind))


_IS: dict[Kind, Callable[[Any], bool]] = {
    "whole numbers": types.is_integer,
    "numbers": _is_number,
    "texts": _is_text,
}
