"""Fixtures of the export's tests: a tiny detector whose batch norms have seen something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lidarloop_core.model.spec import ModelSpec
from tests.builders import make_spec

if TYPE_CHECKING:
    from lidarloop_training.tasks.detection.export_view import DetectionView


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    """32 × 24 pillars."""
    return make_spec(
        x_range_m=(-12.8, 12.8),
        y_range_m=(-9.6, 9.6),
        cell_size_m=(0.8, 0.8),
        max_points_per_pillar=6,
        max_pillars=200,
        max_detections=30,
    )


@pytest.fixture(scope="session")
def detector(spec: ModelSpec) -> DetectionView:
    """A deployable detector of six class groups; logits spread over several units, so that there are clear peaks."""
    torch = pytest.importorskip("torch")
    from lidarloop_training.models.detector import NetworkConfig
    from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS
    from lidarloop_training.tasks.detection.task import DetectionConfig
    from tests.norms import give_statistics

    torch.manual_seed(0)
    network = NetworkConfig(
        class_groups=CENTERPOINT_GROUPS,
        pillar_channels=8,
        stage_channels=(8, 16),
        stage_depths=(1, 1),
        neck_channels=8,
        shared_channels=8,
        group_channels=8,
    )
    task = DetectionConfig(spec=spec, network=network).task()
    detector = task.build().eval()
    give_statistics(detector)
    return task.export_view(detector)


@pytest.fixture(scope="session")
def graph(detector: DetectionView) -> bytes:
    """The exported graph, raw maps among its outputs."""
    pytest.importorskip("onnxscript")
    from lidarloop_export.graph import with_raw_maps

    return with_raw_maps(detector)
