"""A short drive and what labels it quickest: clusters of the cloud need no pictures."""

from __future__ import annotations

import pytest

from lidarloop_training.data.drive_spec import ToyTown
from lidarloop_training.pseudolabel.job import LabelJob


@pytest.fixture(scope="session")
def job() -> LabelJob:
    """Four samples in four segments."""
    return LabelJob(ToyTown(3000, duration_s=0.4), mask_model=None, sensors="lidar", segment_frames=1)
