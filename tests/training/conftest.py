"""Fixtures of the training side's tests: a small spec, a tiny network, and scenes of a few boxes full of points."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import Annotations, Sample, Sweep
from tests.builders import make_spec
from tests.training.sources import MadeSource
from tests.training.street import StreetSource

if TYPE_CHECKING:
    from lidarloop_training.models.detector import NetworkConfig
    from lidarloop_training.stages.config import TrainConfig
    from lidarloop_training.tasks.detection.task import DetectionConfig


SIZES = {
    "car": (4.5, 1.9, 1.6),
    "bus": (11.0, 2.6, 3.4),
    "pedestrian": (0.7, 0.7, 1.8),
    "traffic_cone": (0.4, 0.4, 0.9),
}


def small_spec() -> ModelSpec:
    """20 × 16 pillars: x and y differ in number."""
    return make_spec(
        x_range_m=(-10.0, 10.0),
        y_range_m=(-8.0, 8.0),
        z_range_m=(-3.0, 3.0),
        cell_size_m=(1.0, 1.0),
        max_pillars=300,
        num_sweeps=2,
        max_detections=12,
        lidar_height_m=1.8,
    )


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    """20 × 16 pillars: x and y differ in number."""
    return small_spec()


@dataclasses.dataclass(frozen=True)
class BoxScenes(MadeSource):
    """Scenes of a few objects, each a box full of points, in two sweeps; scene i depends on (seed, i) alone."""

    num_samples: int = 8
    num_objects: int = 4
    seed: int = 0
    labelled: bool = True

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self.seed, index))
        names = rng.choice(list(SIZES), self.num_objects)
        values = np.zeros((self.num_objects, 9), np.float32)
        values[:, :2] = rng.uniform((-9, -7), (9, 7), (self.num_objects, 2))
        values[:, 3:6] = [SIZES[name] for name in names]
        values[:, 2] = values[:, 5] / 2 - 1.8
        values[:, 6] = rng.uniform(-np.pi, np.pi, self.num_objects)
        values[:, 7:9] = rng.normal(size=(self.num_objects, 2))
        labels = [NUSCENES_CLASSES.index(name) for name in names]
        sweeps = tuple(
            Sweep(
                self._points(values, rng),
                ("x", "y", "z", "intensity"),
                1_700_000_000_000_000_000 - i * 100_000_000,
                SE3.identity(),
                SE3.identity(),
            )
            for i in range(2)
        )
        boxes = Boxes3D(values, np.ones(self.num_objects), labels, NUSCENES_CLASSES)
        annotations = Annotations(
            boxes,
            tuple(f"object-{i}" for i in range(self.num_objects)),
            np.full(self.num_objects, 60),
            np.ones(self.num_objects, np.float32),
        )
        return Sample(f"scene-{index}", "boxes", sweeps[0].stamp_ns, sweeps, (), annotations if self.labelled else None)

    @staticmethod
    def _points(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        local = rng.uniform(-0.49, 0.49, (len(values), 60, 3)) * values[:, None, 3:6]
        c, s = np.cos(values[:, 6])[:, None], np.sin(values[:, 6])[:, None]
        turned = np.stack(
            [local[..., 0] * c - local[..., 1] * s, local[..., 0] * s + local[..., 1] * c, local[..., 2]], -1
        )
        objects = (turned + values[:, None, :3]).reshape(-1, 3)
        ground = np.column_stack([rng.uniform(-10, 10, 300), rng.uniform(-8, 8, 300), np.full(300, -1.9)])
        xyz = np.concatenate([objects, ground])
        return np.column_stack([xyz, rng.uniform(0, 255, len(xyz))]).astype(np.float32)


@pytest.fixture(scope="session")
def box_scenes() -> Callable[..., BoxScenes]:
    """Makes a source of labelled scenes."""
    return BoxScenes


@pytest.fixture(scope="session")
def network_config() -> NetworkConfig:
    """A tiny network of CenterPoint's six groups."""
    pytest.importorskip("torch")
    from lidarloop_training.models.detector import NetworkConfig
    from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS

    return NetworkConfig(
        class_groups=CENTERPOINT_GROUPS,
        pillar_channels=8,
        stage_channels=(8, 16),
        stage_depths=(1, 1),
        neck_channels=8,
        shared_channels=8,
        group_channels=8,
    )


@pytest.fixture(scope="session")
def detection_config(spec: ModelSpec, network_config: NetworkConfig) -> DetectionConfig:
    """Detection with the small spec and the tiny network."""
    from lidarloop_training.tasks.detection.task import DetectionConfig

    return DetectionConfig(spec=spec, network=network_config)


@pytest.fixture
def train_config(detection_config: DetectionConfig, tmp_path: Path) -> TrainConfig:
    """A run of a few float32 steps on a tiny network."""
    from lidarloop_training.data.toytown.training_drives import ToyTownDrives
    from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
    from lidarloop_training.stages.schedule import OneCycleConfig

    return TrainConfig(
        task=detection_config,
        data=ToyTownDrives(root=tmp_path / "data", num_train_drives=1, num_validation_drives=1),
        optimisation=OptimisationConfig(
            num_steps=8, batch_size=2, precision="float32", schedule=OneCycleConfig(peak_learning_rate=1e-2)
        ),
        run=RunConfig(
            out=tmp_path / "run", num_workers=0, num_threads=2, log_every=4, validate_every=8, checkpoint_every=4
        ),
    )


@pytest.fixture
def street() -> StreetSource:
    return StreetSource()


@pytest.fixture
def make_street() -> type[StreetSource]:
    return StreetSource
