"""The thirteen tables of the nuScenes schema in memory, and that of its lidarseg package; how they come to disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]

TABLES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map",
    "sample", "sample_annotation", "sample_data", "scene", "sensor", "visibility",
)  # fmt: skip

LIDARSEG = "lidarseg"
"""The table of label files; a folder without labels does not have it."""


def token(*parts: object) -> str:
    """32 hexadecimal digits that depend on the names alone: the same drive gets the same tokens every time."""
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()


class Tables:
    """Records by table, in the order they were added; a record added twice under one token counts once."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Record]] = {name: {} for name in (*TABLES, LIDARSEG)}

    def add(self, table: str, token: str, **fields: Any) -> Record:
        """Adds a record unless its token is known; returns the one that stands in the table."""
        return self._records[table].setdefault(token, {"token": token, **fields})

    def records(self, table: str) -> list[Record]:
        return list(self._records[table].values())

    def write(self, folder: Path) -> None:
        """Writes ``<table>.json`` for each, fsynced; that of the label files where there are some."""
        folder.mkdir(parents=True)
        for table in (*TABLES, *([LIDARSEG] if self.records(LIDARSEG) else [])):
            # One record a line; json.dumps with an indent would take its slow way.
            lines = ",\n".join(json.dumps(record) for record in self.records(table))
            write_synced(folder / f"{table}.json", f"[\n{lines}\n]\n".encode())


def link(records: Iterable[Record]) -> None:
    """Fills ``prev`` and ``next`` of records that follow each other; the ends get the empty token."""
    before: Record | None = None
    for record in records:
        record["prev"], record["next"] = (before["token"] if before else ""), ""
        if before:
            before["next"] = record["token"]
        before = record


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until the disk has it; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
