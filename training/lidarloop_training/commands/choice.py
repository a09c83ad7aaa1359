"""Recipes as sub-commands: the one that is named, with every value that is given replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, Union

import tyro
from rich.console import Console

from lidarloop_core.labelling.painting.paint import is_paint
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.lidar_setup import measure_lidar
from lidarloop_training.data.writing.paints import columns_of
from lidarloop_training.recipes.pillar_toytown import toytown_spec
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.segmentation.task import SegmentationConfig

C = TypeVar("C")


@dataclass(frozen=True)
class Chosen(Generic[C]):
    """A recipe, and what decides several of its values at once.

    Attributes:
        config: the recipe's values.
        classes: names of the classes to learn, as the drives name them, in place of the recipe's. A detector's groups
            follow from them.
    """

    config: Annotated[C, tyro.conf.arg(name="")]
    classes: tuple[str, ...] = ()


def for_classes(config: TrainConfig[Any], classes: tuple[str, ...]) -> TrainConfig[Any]:
    """The run with other classes; with none given those of its spec, to which the groups are fitted.

    Raises:
        ModelFileError: the names are no distinct, printable texts.
    """
    if not isinstance(config.task, DetectionConfig | SegmentationConfig):
        return config
    return dataclasses.replace(config, task=config.task.for_classes(classes or config.task.spec.class_names))


def for_lidar(config: TrainConfig[Any], drives: SampleSource, console: Console) -> TrainConfig[Any]:
    """The run with the LiDAR's height and the interval of its sweeps as its drives hold them.

    A value of the spec that is not the recipes' own was given, and stays. Toy-town drives are made to fit the spec.

    Args:
        config: the run.
        drives: samples to learn from, with as many sweeps as the spec merges.
        console: where it is printed what was taken from the drives.
    """
    if not isinstance(config.data, DriveFolder) or not len(drives):
        return config
    spec, recipes, found = config.task.spec, toytown_spec(), measure_lidar(drives)
    if spec.lidar_height_m == recipes.lidar_height_m and found.height_m is not None:
        spec = dataclasses.replace(spec, lidar_height_m=found.height_m)
        console.print(f"the LiDAR is {found.height_m:.2f} m above the ground, by the drives", highlight=False)
    if spec.sweep_interval_s == recipes.sweep_interval_s and found.sweep_interval_s:
        spec = dataclasses.replace(spec, sweep_interval_s=found.sweep_interval_s)
        console.print(f"sweeps are {found.sweep_interval_s:g} s apart, by the drives", highlight=False)
    return dataclasses.replace(config, task=dataclasses.replace(config.task, spec=spec))


def for_paints(config: TrainConfig[Any]) -> TrainConfig[Any]:
    """The run with the columns that its drives are painted with, in place of the recipe's."""
    if not isinstance(config.data, DriveFolder) or config.data.paints is None:
        return config
    own = (name for name in config.task.spec.point_columns if not is_paint(name))
    spec = dataclasses.replace(config.task.spec, point_columns=(*own, *columns_of(config.data.paints)))
    return dataclasses.replace(config, task=dataclasses.replace(config.task, spec=spec))


def choice(recipes: Mapping[str, tuple[Any, str]], chosen: type[Chosen[Any]] = Chosen) -> Any:
    """The type from which tyro reads one of several recipes.

    Args:
        recipes: name on the command line → (configuration, one line of help).
        chosen: what holds the recipe, and the options beside it.
    """
    kinds = (
        Annotated[_type(config, chosen), tyro.conf.subcommand(name, default=chosen(config), description=description)]
        for name, (config, description) in recipes.items()
    )
    return Union[tuple(kinds)]  # noqa: UP007  # the members are known at run time alone


def _type(config: Any, chosen: Any) -> Any:
    """A configuration's type; a run's is that of its task, so that the task's own settings become options."""
    if isinstance(config, TrainConfig):
        return chosen[TrainConfig[type(config.task)]]  # type: ignore[misc]
    return chosen[type(config)]
