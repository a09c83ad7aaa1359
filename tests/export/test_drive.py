"""Clouds of a drive as a model takes them: its sweeps merged, whatever the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_export.drive import read_drive
from tests.training.data.once import fixture as once


def test_clouds_hold_all_sweeps_of_any_source(spec: ModelSpec, tmp_path: Path) -> None:
    folder = once.write_sequence(tmp_path)
    (cloud,) = read_drive(("once", str(folder.parent.parent)), spec, num_frames=5)
    ages = np.unique(cloud.points[:, spec.point_columns.index("dt")])
    assert len(ages) == spec.num_sweeps == 3
    assert ages[0] == 0
    assert len(cloud.points) == sum(len(once.points(frame)) for frame in range(3))


def test_a_toy_town_cloud_holds_all_sweeps(spec: ModelSpec) -> None:
    pytest.importorskip("embreex")
    (cloud,) = read_drive(("toytown", "7"), spec, num_frames=1)
    ages = np.unique(cloud.points[:, spec.point_columns.index("dt")].round(3))
    np.testing.assert_allclose(ages, [0.0, 0.1, 0.2], atol=1e-3)


def test_a_drive_that_is_not_there_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_drive(("once", str(tmp_path / "nothing")), spec, num_frames=1)
