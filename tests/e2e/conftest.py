"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shipped_model(repository: Path) -> Path:
    """The model that the repository carries."""
    return repository / "models" / "pillar-toytown.onnx"
