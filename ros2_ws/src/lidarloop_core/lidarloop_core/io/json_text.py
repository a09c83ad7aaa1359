"""JSON from outside: of a bounded size and depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lidarloop_core.io import regular_file

MOST_BYTES = 4 << 30
"""Size above which a JSON file is not read; the largest table of nuScenes' trainval split has 1.3 GB."""


def parse(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """The value in a JSON file.

    Args:
        path: a regular file.
        most_bytes: largest size that is read, bytes.

    Raises:
        OSError: it is missing, may not be read, is no regular file, or is too large.
        ValueError: as ``parse``.
    """
    return parse(regular_file.read_bytes(path, most_bytes))
