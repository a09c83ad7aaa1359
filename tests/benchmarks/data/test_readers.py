"""The readers' timing on small real samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data import readers


@pytest.mark.real
def test_readers_are_timed(real_data: Path) -> None:
    drives = {name: drive for name, drive in readers.real_drives(real_data).items() if "KITTI" in name}
    rows = readers.measure(drives, 0.02)
    assert {row.source for row in rows} == {"kitti-object", "kitti-raw"}
    for row in rows:
        assert row.num_points > 100_000
        assert row.num_pictures == 1
        assert row.samples_per_s_with_pictures is not None
        assert 0 < row.samples_per_s_with_pictures < row.samples_per_s
