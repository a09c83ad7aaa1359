"""Results as JSON lines: each is written at once when it is known, by whichever process knows it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line, complete or not at all; several processes may write to one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write((json.dumps(record, default=lambda value: value.item()) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """All records; none where there is no file. A last line that was cut off by a crash is left out."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]


def matching(records: Sequence[Record], **values: Any) -> list[Record]:
    """The records with these values."""
    return [record for record in records if all(record.get(key) == value for key, value in values.items())]
