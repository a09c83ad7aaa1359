"""The options of ``lidarloop pseudolabel``: mask model, steps, pieces of work, executor."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lidarloop_core.errors import ConfigError
from lidarloop_core.io.images import MOST_PIXELS
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_training.commands.overrides import overridden, overrides_of
from lidarloop_training.pseudolabel.job import MaskModelSpec, RecipeName, Sensors, recipe
from lidarloop_training.pseudolabel.mask_model_choice import (
    MasksFileSpec,
    OnnxMaskModelSpec,
    ToyTownMaskModelSpec,
    TransformersMaskModelSpec,
)
from lidarloop_training.ranges import check_ranges

if TYPE_CHECKING:
    from lidarloop_training.pseudolabel.pipeline import Executor

    LiftingOverrides = LiftingConfig
    RefineOverrides = RefineConfig
else:
    LiftingOverrides = overrides_of(LiftingConfig)
    RefineOverrides = overrides_of(RefineConfig, without=("motion",))


@dataclass(frozen=True)
class MaskModelOptions:
    """Which 2D model labels.

    Attributes:
        mask_model: the 2D model that finds things in images.
        transformers: options of --mask-model transformers.
        onnx: options of --mask-model onnx.
        masks: options of --mask-model masks.
    """

    mask_model: Literal["transformers", "onnx", "masks"] | None = None
    transformers: TransformersMaskModelSpec = field(default_factory=TransformersMaskModelSpec)
    onnx: OnnxMaskModelSpec = field(default_factory=OnnxMaskModelSpec)
    masks: MasksFileSpec = field(default_factory=MasksFileSpec)

    def chosen(self, sensors: Sensors) -> MaskModelSpec | None:
        """The mask model; None for sensors "lidar", which need none.

        Raises:
            ConfigError: none was named though one is needed, or options would be ignored.
        """
        if sensors == "lidar" and self.mask_model is not None:
            raise ConfigError(
                f"received --mask-model {self.mask_model} with --sensors lidar, which looks at no image: leave one out"
            )
        used = None if sensors == "lidar" else self.mask_model or self._usual
        specs = self._specs()
        for name, spec in specs.items():
            if name != used and spec != type(spec)():
                raise ConfigError(
                    f"received options of --mask-model {name} without it; expected --mask-model {name}: or leave them "
                    "out"
                )
        if sensors == "lidar":
            return None
        if used is None:
            raise ConfigError(
                f"received no --mask-model; expected the 2D model to label with: {', '.join(specs)}, or --sensors "
                "lidar for labels without images"
            )
        return specs[used]

    @property
    def _usual(self) -> str | None:
        return None

    def _specs(self) -> dict[str, MaskModelSpec]:
        return {"transformers": self.transformers, "onnx": self.onnx, "masks": self.masks}


@dataclass(frozen=True)
class ToyTownMaskModelOptions(MaskModelOptions):
    """Which 2D model labels a toy-town drive.

    Attributes:
        mask_model: the 2D model that finds things in images; by default toytown, the toy town's own stand-in.
        toytown: options of --mask-model toytown.
    """

    mask_model: Literal["toytown", "transformers", "onnx", "masks"] | None = None  # type: ignore[assignment]  # wider
    toytown: ToyTownMaskModelSpec = field(default_factory=ToyTownMaskModelSpec)

    @property
    def _usual(self) -> str | None:
        return "toytown"

    def _specs(self) -> dict[str, MaskModelSpec]:
        return {**super()._specs(), "toytown": self.toytown}


@dataclass(frozen=True)
class StepOptions:
    """How labels are made.

    Attributes:
        recipe: paper is the published pipeline, plain; full has all steps of this project and refines over the drive.
        lifting: steps of the recipe, one by one.
        refine: steps of the refinement, one by one; with recipe full.
        priors: JSON file of the classes' usual sizes; by default those of the paper.
        sensors: lidar needs no images and no mask model; camera takes depth from the images.
    """

    recipe: RecipeName = "full"
    lifting: LiftingOverrides = field(default_factory=LiftingOverrides)
    refine: RefineOverrides = field(default_factory=RefineOverrides)
    priors: Path | None = None
    sensors: Sensors = "lidar-camera"

    def steps(self) -> tuple[LiftingConfig, RefineConfig | None]:
        """Lifting and refinement.

        Raises:
            ConfigError: options would be ignored, or a value is out of range.
        """
        lifting, refinement = recipe(self.recipe)
        if refinement is None and self.refine != RefineOverrides():
            raise ConfigError(
                "received --refine options with --recipe paper, which does not refine: take --recipe full"
            )
        return overridden(lifting, self.lifting), None if refinement is None else overridden(refinement, self.refine)

    def shape_priors(self) -> ShapePriors:
        """The classes' usual sizes.

        Raises:
            ConfigError: the file is missing or holds none.
        """
        return ShapePriors.paper() if self.priors is None else ShapePriors.read(self.priors)


@dataclass(frozen=True)
class PieceOptions:
    """What is labelled of a drive, and in what pieces.

    Attributes:
        every: labels each n-th sample.
        segment_frames: samples in one piece of work: what a killed run has to do again at most, per worker.
        max_picture_mpx: largest picture that is looked at, megapixels; a camera with larger ones is left out.
    """

    every: int = 1
    segment_frames: int = 20
    max_picture_mpx: float = MOST_PIXELS / 1e6


@dataclass(frozen=True)
class ExecutorOptions:
    """What runs the work.

    Attributes:
        executor: local works on this machine; ray works on all machines of a Ray cluster.
        workers: number of processes, each with a model of its own; by default one, on a Ray cluster one per CPU.
        ray_address: address of the Ray cluster; by default the one of RAY_ADDRESS, or one started here.
        gpus_per_worker: share of a GPU that a worker's model needs, on a Ray cluster.

    Raises:
        ConfigError: options of Ray without it.
    """

    executor: Literal["local", "ray"] = "local"
    workers: int | None = None
    ray_address: str | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        check_ranges("ExecutorOptions", gpus_per_worker=(self.gpus_per_worker, 0, 64))
        if self.workers is not None:
            check_ranges("ExecutorOptions", workers=(self.workers, 1, 100_000))

    def open(self) -> Executor:
        """The executor.

        Raises:
            ConfigError: options of Ray without it.
        """
        if self.executor == "ray":
            from lidarloop_training.pseudolabel.executors.ray import work_on_ray

            return partial(
                work_on_ray,
                num_workers=self.workers,
                address=self.ray_address,
                gpus_per_worker=self.gpus_per_worker,
            )
        for option, value in (("--ray-address", self.ray_address), ("--gpus-per-worker", self.gpus_per_worker)):
            if value:
                raise ConfigError(f"received {option} with --executor local; expected --executor ray")
        from lidarloop_training.pseudolabel.executors.local import work_locally

        return partial(work_locally, num_workers=1 if self.workers is None else self.workers)
