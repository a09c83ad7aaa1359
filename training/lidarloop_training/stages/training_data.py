"""The drives of a training run."""

from __future__ import annotations

from rich.console import Console

from lidarloop_core.sample import SampleSource
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives, prepare


def open_data(
    data: ToyTownDrives | DriveFolder, num_sweeps: int, console: Console
) -> tuple[SampleSource, SampleSource]:
    """The drives to learn from and those to validate on; toy-town drives that are missing are made.

    Args:
        data: which drives.
        num_sweeps: sweeps of a sample, the keyframe among them.
        console: where progress is printed.

    Raises:
        DatasetError, BagError: nothing readable is there.
    """
    if isinstance(data, DriveFolder):
        return data.open_training(num_sweeps), data.open_validation(num_sweeps)
    prepare(data, num_sweeps, lambda done, of: console.print(f"made drive {done} of {of}"))
    return open_drives(data, data.train_seeds, num_sweeps), open_drives(data, data.validation_seeds, num_sweeps)
