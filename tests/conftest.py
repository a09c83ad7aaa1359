"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]

# rclpy reads it once, at the first import of a message package, whichever test does that; older ones always check.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

# Property tests. `make test` runs "fixed": the same examples on every machine, however slow or busy it is.
# `make test-long` runs "random" with seeds that it prints; what it finds becomes an @example.
settings.register_profile(
    "fixed", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("random", settings.get_profile("fixed"), derandomize=False, max_examples=300, print_blob=True)
settings.load_profile("fixed")


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


@pytest.fixture(scope="session")
def streets() -> Path:
    """Folder of real drives that `make streets` unpacked: $LIDARLOOP_STREETS or ~/.cache/lidarloop/streets."""
    folder = Path(os.environ.get("LIDARLOOP_STREETS", Path.home() / ".cache" / "lidarloop" / "streets"))
    if not (folder / "kitti_tracking").is_dir():
        pytest.skip(f"no real drives at {folder}; `make streets` unpacks them")
    return folder


@pytest.fixture(scope="session")
def open_page() -> Callable[[Path, Path], tuple[str, list[str]]]:
    """Opens a page in a real browser: (page, empty folder) → (the DOM after loading, lines written to the console)."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")

    def open_page(page: Path, profile: Path) -> tuple[str, list[str]]:
        command = [
            browser,
            "--headless",
            "--no-sandbox",  # containers lack the kernel features for it
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            "--v=0",
            "--virtual-time-budget=5000",
            "--dump-dom",
            page.resolve().as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, done.stderr
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return open_page


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run nodes share one worker: two nodes at a time on two cores would answer late."""
    for item in items:
        if item.path.relative_to(REPOSITORY).parts[1] in ("ros", "e2e"):
            item.add_marker(pytest.mark.xdist_group("nodes"))
