"""Adaptation: a detector of the toy town learns real drives without human labels.

Each round trains the source's weights on toy town and real drives together, the real ones with labels that are believed
as far as they are sure, and measures the batch norms on the real clouds. The labels of the first round are those of
masks; those of a later one are the detections of the round before, judged by their tracks. All rounds start from the
source: the mistakes of a round's labels are not carried on in weights.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.io import atomic, outside
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.drive_lookup import drive_arguments
from lidarloop_training.data.drive_spec import Drive
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.doubtful import DoubtConfig, DoubtfulSource, doubt_counts
from lidarloop_training.data.views.mixed import MixedSource
from lidarloop_training.data.views.pseudo_labelled import open_labelled
from lidarloop_training.data.writing.pseudo_labels import as_json as json_bytes
from lidarloop_training.ranges import check_ranges
from lidarloop_training.stages.adapt.norms import with_norms_of
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.sampler import sizes_in_batch
from lidarloop_training.stages.saved_task import as_json
from lidarloop_training.stages.trainer import fit, new_accelerator
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.task import Part

PLAN = "adapt.json"
"""What a folder of an adaptation was begun with."""


@dataclass(frozen=True)
class AdaptConfig:
    """An adaptation.

    Attributes:
        train: the training of each round. Its data are the toy town, it starts from the source, and its folder is that
            of the adaptation.
        real_share: share of real samples in each batch; 1 leaves the toy town out.
        doubts: what is not believed of the labels.
        num_rounds: rounds of training, each but the first on labels of the one before; more can be added to a finished
            adaptation.
        min_score: lowest score of the detections that a later round learns from.
        num_norm_batches: batches of real clouds on which the batch norms are measured after training; 0 leaves those
            of training.
    """

    train: TrainConfig[DetectionConfig]
    real_share: float = 0.5
    doubts: DoubtConfig = field(default_factory=DoubtConfig)
    num_rounds: int = 1
    min_score: tuple[float, ...] = (0.1,)
    num_norm_batches: int = 50

    def __post_init__(self) -> None:
        check_ranges(
            "AdaptConfig",
            real_share=(self.real_share, 0.001, 1),
            num_rounds=(self.num_rounds, 1, 1000),
            min_score=(self.min_score, 0, 1),
            num_norm_batches=(self.num_norm_batches, 0, 10**6),
        )
        if self.real_share < 1:
            shares = (Part(1, 1 - self.real_share), Part(1, self.real_share))
            sizes_in_batch(shares, self.train.optimisation.batch_size)

    @property
    def out(self) -> Path:
        """Folder of the adaptation."""
        return self.train.run.out

    def round_folder(self, number: int) -> Path:
        """Where a round's labels, training, weights and model file lie; rounds count from 1."""
        return self.out / f"round-{number}"


def keep_plan(config: AdaptConfig, drives: Sequence[Drive], labels: str) -> None:
    """Writes down what an adaptation is begun with, or compares.

    Args:
        config: the adaptation.
        drives: the real drives.
        labels: where the first round's labels come from, in words.

    Raises:
        ConfigError: the folder was begun with other settings.
    """
    settings = as_json(config)
    del settings["num_rounds"], settings["train"]["run"]
    plan = {"settings": settings, "drives": [drive_arguments(drive) for drive in drives], "labels": labels}
    path = config.out / PLAN
    if not path.is_file():
        atomic.write_bytes(path, json_bytes(plan))
        return
    begun = outside.read_json(path)
    if begun != plan:
        differing = [key for key, value in plan.items() if begun.get(key) != value]
        if "settings" in differing:
            differing += [key for key, value in settings.items() if begun["settings"].get(key) != value]
        raise ConfigError(
            f"{config.out} holds an adaptation with another {', '.join(differing)}; expected the same to go on: repeat "
            "the command it was started with, or choose another --out"
        )


def open_real(drives: Sequence[Drive], num_sweeps: int, *, cameras: bool) -> SampleSource:
    """The samples of all drives, one drive after another; the pictures are not decoded.

    Raises:
        DatasetError, BagError: nothing readable is there, or two drives have one name.
    """
    sources = [drive.open(num_sweeps=num_sweeps, cameras=cameras, lane_map=False) for drive in drives]
    names = Counter(name for source in sources for name in {key.drive for key in source.keys})
    if twice := [name for name, number in names.items() if number > 1]:
        raise DatasetError(
            f"adapt received more than one drive of the name {', '.join(sorted(twice))}; expected names of their own, "
            "by which their labels are kept: rename the files, or name each drive once"
        )
    return ConcatSource(sources)


def believed(real: SampleSource, labels: Path, doubts: DoubtConfig, console: Console) -> DoubtfulSource:
    """The samples of real drives that have labels, as far as these are believed.

    Raises:
        DatasetError: none has.
    """
    source = DoubtfulSource(open_labelled(real, labels), doubts)
    taught, doubted, ghosts = doubt_counts(source)
    console.print(
        f"{taught} labels in {len(source)} samples are believed; {doubted} are doubted and teach nothing, {ghosts} are "
        "left out",
        highlight=False,
    )
    return source


def train_round(
    config: AdaptConfig, number: int, town: SampleSource | None, real: SampleSource, console: Console
) -> Path:
    """Trains one round from the source's weights on.

    Args:
        config: the adaptation.
        number: number of the round, from 1.
        town: labelled samples of the toy town; None where it is left out.
        real: labelled samples of the real drives.
        console: where progress is printed.

    Returns:
        The last checkpoint's folder.

    Raises:
        ConfigError: the source's weights are of another network.
        DatasetError: there is too little to learn from.
    """
    mixed = real if town is None else MixedSource(town, real, config.real_share)
    run = round_run(config, number, "train")
    return fit(run, mixed, ConcatSource([]), accelerator=new_accelerator(), console=console)


def finish_round(config: AdaptConfig, number: int, trained: Path, real: SampleSource, console: Console) -> Path:
    """Measures the batch norms of a round on the real clouds; gives the checkpoint that export takes.

    Raises:
        ConfigError: there is no checkpoint, or it is not readable.
        DatasetError: the samples are too few for a batch.
    """
    return with_norms_of(trained, real, round_run(config, number, "adapted"), config.num_norm_batches, console)


def round_run(config: AdaptConfig, number: int, name: str) -> TrainConfig[DetectionConfig]:
    """The run of a round in a folder of its own: what would multiply the labels' mistakes is off."""
    run = dataclasses.replace(config.train.run, out=config.round_folder(number) / name)
    return dataclasses.replace(config.train, run=run, task=config.train.task.for_doubtful_labels())
