"""What the commands that train have in common: devices, console, drives, and the run as its drives decide it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from rich.console import Console

from lidarloop_core.sample import SampleSource
from lidarloop_core.shell import command_line
from lidarloop_training.commands.choice import for_lidar
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.trainer import new_accelerator
from lidarloop_training.stages.training_data import open_data


@dataclass(frozen=True)
class TrainingRun:
    """A run that is ready to train.

    Attributes:
        config: the run, with the LiDAR's height and the interval of its sweeps as its drives hold them.
        training: samples to learn from.
        validation: samples for the validation loss; may be empty.
        accelerator: device and processes.
        console: where progress is printed, by the main process alone.
    """

    config: TrainConfig[Any]
    training: SampleSource
    validation: SampleSource
    accelerator: Accelerator
    console: Console

    def print_next(self, *words: object) -> None:
        """Prints the ``lidarloop`` command that takes what was trained."""
        self.console.print(f"next: {command_line('lidarloop', *words)}", soft_wrap=True, markup=False)


def open_run(config: TrainConfig[Any]) -> TrainingRun:
    """Opens the drives of a run; toy-town drives that are missing are made, by one process for all.

    Raises:
        DatasetError, BagError: nothing readable is there.
    """
    accelerator = new_accelerator()
    console = Console(quiet=not accelerator.is_main_process)
    with accelerator.main_process_first():
        training, validation = open_data(config.data, config.task.spec.num_sweeps, console)
    return TrainingRun(for_lidar(config, training, console), training, validation, accelerator, console)
