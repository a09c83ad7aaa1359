"""The options of ``lidarloop adapt``, and the adaptation that they ask for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro
from rich.console import Console

from lidarloop_core.errors import ConfigError
from lidarloop_core.sample import SampleSource
from lidarloop_training.commands.adapt.lidar import spec_of_lidar
from lidarloop_training.commands.over_drives import D, one_of
from lidarloop_training.commands.pseudolabel import Labelling
from lidarloop_training.commands.pseudolabel_options import ToyTownMaskModelOptions
from lidarloop_training.data.drive_spec import KINDS, Drive, StoredDrive, ToyTown
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.data.views.doubtful import DoubtConfig
from lidarloop_training.recipes.adapt import adapt_optimisation, adapt_town, task_of_source
from lidarloop_training.stages.adapt.rounds import AdaptConfig
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig


@dataclass(frozen=True)
class AdaptRequest(Labelling[D]):
    """What to adapt to, and how.

    Attributes:
        more: further drives of the same kind and with the same options.
        labels: pseudo-labels of the drives that `lidarloop pseudolabel` has made; then none are made here.
        town: drives of the toy town that training goes on with; --town.lidar is to be the drives' own kind.
        optimisation: how the weights are found, in each round.
        real_share: share of real samples in each batch; 1 leaves the toy town out.
        doubts: what is not believed of the pseudo-labels.
        rounds: rounds of training; each after the first learns from detections of the one before, judged by their
            tracks. More can be added to a finished adaptation.
        min_score: lowest score of these detections.
        norm_batches: batches of real clouds on which the batch norms are measured at the end; 0 leaves those of
            training.
        num_workers: processes that load data; 0 loads between the steps.
        num_threads: torch's threads; 0 leaves torch's own choice.
        seed: seed for order and augmentation.
    """

    more: tuple[Path, ...] = ()
    labels: Path | None = None
    town: ToyTownDrives = field(default_factory=adapt_town)
    optimisation: OptimisationConfig = field(default_factory=adapt_optimisation)
    real_share: float = 0.5
    doubts: DoubtConfig = field(default_factory=DoubtConfig)
    rounds: int = 1
    min_score: float = 0.1
    norm_batches: int = 50
    num_workers: int = 1
    num_threads: int = 0
    seed: int = 0

    def drives(self) -> list[Drive]:
        """All drives.

        Raises:
            ConfigError: more drives of a kind that has no place.
        """
        if not isinstance(self.drive, StoredDrive):
            if self.more:
                raise ConfigError("adapt received --more with a toy-town drive; expected one seed: leave it out")
            return [self.drive]
        more = [dataclasses.replace(self.drive, path=path) for path in self.more]
        return cast("list[Drive]", [self.drive, *more])

    def config(self, source: Path, real: SampleSource, console: Console) -> AdaptConfig:
        """The adaptation, its spec with the LiDAR of the drives.

        Raises:
            ConfigError, ModelFileError: the source is no detector, or a value is out of range.
        """
        task = task_of_source(source)
        task = dataclasses.replace(task, spec=spec_of_lidar(task.spec, real, console))
        run = RunConfig(out=self.out, num_workers=self.num_workers, num_threads=self.num_threads, checkpoint_every=250)
        return AdaptConfig(
            train=TrainConfig(task, self.town, self.optimisation, run, init_from=source, seed=self.seed),
            real_share=self.real_share,
            doubts=self.doubts,
            num_rounds=self.rounds,
            min_score=(self.min_score,),
            num_norm_batches=self.norm_batches,
        )


@dataclass(frozen=True)
class ToyTownAdaptRequest(AdaptRequest[ToyTown]):
    """What to adapt to of the toy town, and how.

    Attributes:
        masks: which 2D model labels.
    """

    masks: Annotated[ToyTownMaskModelOptions, tyro.conf.arg(name="")] = field(default_factory=ToyTownMaskModelOptions)


if TYPE_CHECKING:
    Request = AdaptRequest[Any]
else:
    Request = one_of({kind: ToyTownAdaptRequest if kind is ToyTown else AdaptRequest[kind] for kind in KINDS})
