from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.checks import REPOSITORY
from benchmarks.streets.pack import unpack
from benchmarks.streets.readers import free_shares


@pytest.mark.parametrize(("yaw", "x"), [(0.0, 20.0), (np.pi, -20.0)])
def test_a_box_is_as_free_as_what_stands_before_it_leaves_it(yaw: float, x: float) -> None:
    """A box 20 m away, behind a wall at 10 m that covers its left half; what lies behind it takes nothing."""
    box = np.array([[x, 0.0, 0.0, 2.0, 4.0, 2.0, yaw, 0.0, 0.0]], np.float32)
    y, z = np.meshgrid(np.arange(0.005, 1.5, 0.01), np.arange(-1, 1, 0.01))
    wall = np.column_stack([np.full(y.size, x / 2), y.ravel(), z.ravel()]).astype(np.float32)
    behind = wall * 3
    np.testing.assert_allclose(free_shares(wall, box), [0.5], atol=1 / 16)
    np.testing.assert_allclose(free_shares(behind, box), [1.0])


def test_drives_are_not_unpacked_into_the_repository_or_from_nowhere(tmp_path: Path) -> None:
    assert "lies in the repository" in unpack(tmp_path, REPOSITORY / "out" / "streets")
    assert "no pack of real drives" in unpack(tmp_path / "nowhere", tmp_path / "there")
