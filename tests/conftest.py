"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of small real samples (nuScenes, KITTI, Argoverse 2): $LIDARLOOP_REAL_DATA or ../shared/data."""
    folder = Path(os.environ.get("LIDARLOOP_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "nuscenes_keyframe").is_dir():
        pytest.skip(f"no real samples at {folder}; set LIDARLOOP_REAL_DATA to run this test")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run nodes share one worker: two nodes at a time on two cores would answer late."""
    for item in items:
        if item.path.relative_to(REPOSITORY).parts[1] in ("ros", "e2e"):
            item.add_marker(pytest.mark.xdist_group("nodes"))
