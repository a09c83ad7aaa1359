"""What an adaptation takes from its source, a run or a model file, and how long it trains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.model_file import read_model
from lidarloop_core.model.outputs import Detection
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.recipes.pillar_toytown import pillar_toytown
from lidarloop_training.recipes.voxel_toytown import voxel_toytown
from lidarloop_training.stages.checkpoint import load_task
from lidarloop_training.stages.config import OptimisationConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.stages.start_model import SUFFIX
from lidarloop_training.tasks.detection.task import DetectionConfig


def adapt_optimisation() -> OptimisationConfig:
    """A third of the steps of ``pillar_toytown`` at half its learning rate, as fine-tuning on few labels has it."""
    return OptimisationConfig(num_steps=3000, schedule=OneCycleConfig(peak_learning_rate=1e-3))


def adapt_town() -> ToyTownDrives:
    """A third of the drives of ``pillar_toytown``; none is kept for a validation loss."""
    return ToyTownDrives(num_train_drives=40, num_validation_drives=0)


def task_of_source(source: Path) -> DetectionConfig:
    """The detection task of a run, one of its checkpoints, or a model file.

    A model file does not hold the widths and depths of its network: they are taken to be those of the toy-town recipe
    with the same kind of grid. Where they are others, starting from its weights names what differs.

    Raises:
        ConfigError: it is no detector, or not readable.
        ModelFileError: the model file is missing, foreign or damaged.
    """
    if source.suffix != SUFFIX:
        config = getattr(load_task(source).task, "config", None)
        if not isinstance(config, DetectionConfig):
            raise ConfigError(
                f"adapt received {source}, which is no detector; expected a run of `lidarloop train` or `distill`, or "
                "a model file"
            )
        fields = {each.name: getattr(config, each.name) for each in dataclasses.fields(DetectionConfig)}
        return DetectionConfig(**fields)  # of a distilled student too, which learns without its teacher from here
    spec = read_model(source).spec
    if not isinstance(spec.outputs, Detection):
        raise ConfigError(f"adapt received {source}, which is no detector; expected a model that gives boxes")
    recipe = (pillar_toytown if isinstance(spec.grid, PillarGrid) else voxel_toytown)().task
    return dataclasses.replace(recipe.for_classes(spec.class_names), spec=spec)
