"""Tables of nuScenes as they are on disk: records by their tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import outside

_T = TypeVar("_T")


def read_table(folder: Path, table: str) -> list[dict[str, Any]]:
    """The records of one table.

    Raises:
        DatasetError: the file is missing or holds no list.
    """
    path = folder / f"{table}.json"
    try:
        records = outside.read_json(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); expected the table of nuScenes v1.0") from None
    except ValueError as error:
        raise DatasetError(f"{path}: no valid JSON ({error}); restore the file") from None
    if not isinstance(records, list):
        raise DatasetError(f"{path}: received a JSON {type(records).__name__}; expected a list of records")
    return records


class ByToken(dict[str, _T]):
    """Content of a table, by token; a token that it lacks is an error that names the table."""

    def __init__(self, path: Path, entries: Iterable[tuple[str, _T]]) -> None:
        super().__init__(entries)
        self._path = path

    def __missing__(self, token: str) -> _T:
        raise DatasetError(
            f"{self._path}: has no record '{token}', which another table refers to; expected complete nuScenes v1.0 "
            "tables: restore the folder"
        )


def by_token(folder: Path, table: str) -> ByToken[dict[str, Any]]:
    """Token → record of a table. Raises DatasetError: the table cannot be read."""
    return ByToken(folder / f"{table}.json", ((record["token"], record) for record in read_table(folder, table)))


def column_by_token(folder: Path, table: str, name: str) -> ByToken[Any]:
    """Token → one field of a table's records. Raises DatasetError: the table cannot be read."""
    return ByToken(folder / f"{table}.json", ((record["token"], record[name]) for record in read_table(folder, table)))
