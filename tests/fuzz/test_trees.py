"""The damage done to files: it must not stumble over what it has damaged before."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz import trees


@pytest.mark.parametrize("name", ["a.json", "a.txt", "a.bin"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[" * 100_000, b"\n"], ids=["empty", "binary", "deep", "line"])
def test_a_file_that_is_damaged_already_can_be_damaged_again(name: str, content: bytes, tmp_path: Path) -> None:
    for seed in range(40):
        path = tmp_path / name
        path.write_bytes(content)
        trees.damage_file(Random(seed), path)
        if not path.exists():
            path.unlink(missing_ok=True)
        elif path.is_dir():
            path.rmdir()
        elif not path.is_file():
            path.unlink()
