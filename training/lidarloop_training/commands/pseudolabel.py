"""``lidarloop pseudolabel``: 3D labels for a drive that nobody has labelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_training.commands.convert_options import check_options
from lidarloop_training.commands.overrides import overridden, overrides_of
from lidarloop_training.data.sources import SourceName
from lidarloop_training.pseudolabel.job import DriveSpec, LabelJob, MaskModelSpec, RecipeName, Sensors
from lidarloop_training.pseudolabel.job import recipe as recipe_named
from lidarloop_training.pseudolabel.mask_model_choice import (
    MasksFileSpec,
    OnnxMaskModelSpec,
    ToyTownMaskModelSpec,
    TransformersMaskModelSpec,
)

if TYPE_CHECKING:
    from lidarloop_training.pseudolabel.pipeline import Engine

    LiftingOverrides = LiftingConfig
    RefineOverrides = RefineConfig
else:
    LiftingOverrides = overrides_of(LiftingConfig)
    RefineOverrides = overrides_of(RefineConfig, without=("motion",))

MaskModelName = Literal["transformers", "onnx", "masks", "toytown"]
EngineName = Literal["local", "ray"]


def pseudolabel(
    source: tyro.conf.Positional[SourceName],
    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATH_OR_SEED")],
    *,
    out: Path,
    shelf: MaskModelName | None = None,
    transformers: TransformersMaskModelSpec = TransformersMaskModelSpec(),
    onnx: OnnxMaskModelSpec = OnnxMaskModelSpec(),
    masks: MasksFileSpec = MasksFileSpec(),
    toytown: ToyTownMaskModelSpec = ToyTownMaskModelSpec(),
    recipe: RecipeName = "full",
    lifting: LiftingOverrides = LiftingOverrides(),
    refine: RefineOverrides = RefineOverrides(),
    priors: Path | None = None,
    sensors: Sensors = "lidar-camera",
    every: int = 1,
    segment_frames: int = 20,
    workers: int | None = None,
    engine: EngineName = "local",
    ray_address: str | None = None,
    gpus_per_worker: float = 0.0,
    report: bool = False,
    duration_s: float = 20.0,
    rate_hz: float = 10.0,
    scene: str | None = None,
    points_topics: tuple[str, ...] = (),
    odometry_topic: str | None = None,
    overwrite: bool = False,
) -> None:
    """Labels a drive from its pictures and clouds: OUT/<drive>/labels.json, and evidence.json beside it.

    A run that was interrupted goes on where it was when the same command is given again.

    Args:
        source: what to read; see `lidarloop convert`.
        path: the drive's file or folder; for toytown the seed.
        out: folder of the run.
        shelf: the 2D model that finds things in pictures; for toytown its own stand-in by default.
        transformers: of shelf transformers.
        onnx: of shelf onnx.
        masks: of shelf masks.
        toytown: of shelf toytown.
        recipe: paper is the published pipeline, plain; full has all steps of this project and refines over the drive.
        lifting: steps of the recipe, one by one.
        refine: steps of the refinement, one by one; with recipe full.
        priors: JSON file of the classes' usual sizes; by default those of the paper.
        sensors: lidar needs no pictures and no shelf; camera takes depth from the pictures.
        every: labels each n-th sample.
        segment_frames: samples in one piece of work: what a killed run has to do again at most, per worker.
        workers: processes, each with a model of its own; by default one, on a Ray cluster one per CPU.
        engine: ray works on all machines of a Ray cluster.
        ray_address: of the cluster; by default the one of RAY_ADDRESS, or one started here.
        gpus_per_worker: on a Ray cluster, share of a GPU that a worker's model needs.
        report: also writes OUT/report.html and OUT/metrics.json: what the labels are worth.
        duration_s: length of a toytown drive.
        rate_hz: clouds per second of a toytown drive.
        scene: nuScenes only: the scene to label; all by default.
        points_topics: bags only: the clouds' topics.
        odometry_topic: bags only.
        overwrite: begin anew where OUT holds a labelling run.
    """
    given = _given(locals())
    check_options(source, Path("labels.mcap"), given & _OF_SOURCES)
    _check_combination(source, given, sensors=sensors, shelf=shelf, recipe=recipe, engine=engine)
    chosen = _shelf(
        source, shelf, sensors, {"transformers": transformers, "onnx": onnx, "masks": masks, "toytown": toytown}
    )
    steps, refinement = recipe_named(recipe)
    job = LabelJob(
        drive=DriveSpec(source, path, duration_s, rate_hz, scene, points_topics, odometry_topic),
        shelf=chosen,
        lifting=overridden(steps, lifting),
        refinement=None if refinement is None else overridden(refinement, refine),
        priors=ShapePriors.paper() if priors is None else ShapePriors.read(priors),
        sensors=sensors,
        every=every,
        segment_frames=segment_frames,
    )
    # Heavy imports only now, so that `--help` and wrong usage answer at once.
    from lidarloop_training.pseudolabel.manifest import remove_run
    from lidarloop_training.pseudolabel.pipeline import label_drives

    if isinstance(chosen, ToyTownMaskModelSpec):
        print("the 2D model is the toy town's stand-in: true masks, degraded at the rates of --toytown.faults")
    if overwrite:
        remove_run(out)
    started = time.monotonic()
    with _progress() as on_frames:
        labels = label_drives(job, out, _engine(engine, workers, ray_address, gpus_per_worker), on_frames)
    print(f"labelled in {time.monotonic() - started:.1f} s:")
    for file in labels:
        print(file)
    if report:
        from lidarloop_training.pseudolabel.report import write_report

        print(write_report(job, labels, out))
    print(f"look: lidarloop view {source} {path} --results {labels[0]} --every {every}")
    if source != "toytown":
        print(f"next: lidarloop train pillar-pretrain --data.source {source} --data.path {path} --data.labels {out}")


_OF_SOURCES = {"duration_s", "rate_hz", "scene", "points_topics", "odometry_topic"}


def _given(arguments: dict[str, Any]) -> set[str]:
    """The names of ``pseudolabel``'s arguments that differ from their defaults."""
    import inspect

    parameters = inspect.signature(pseudolabel).parameters
    return {name for name, value in arguments.items() if value != parameters[name].default}


def _check_combination(
    source: str,
    given: set[str],
    *,
    sensors: Sensors,
    shelf: MaskModelName | None,
    recipe: RecipeName,
    engine: EngineName,
) -> None:
    """Refuses options that would be ignored without a word."""
    used = shelf or ("toytown" if source == "toytown" else None)
    for name in get_args(MaskModelName):
        if name in given and (name != used or sensors == "lidar"):
            raise ConfigError(
                f"received options of --shelf {name} without it; expected --shelf {name}: or leave them out"
            )
    if sensors == "lidar" and shelf is not None:
        raise ConfigError(f"received --shelf {shelf} with --sensors lidar, which looks at no picture: leave one out")
    if recipe == "paper" and "refine" in given:
        raise ConfigError("received --refine options with --recipe paper, which does not refine: take --recipe full")
    for name in ("ray_address", "gpus_per_worker"):
        if name in given and engine != "ray":
            raise ConfigError(f"received --{name.replace('_', '-')} with --engine {engine}; expected --engine ray")


def _shelf(
    source: str, name: MaskModelName | None, sensors: Sensors, specs: dict[str, MaskModelSpec]
) -> MaskModelSpec | None:
    if sensors == "lidar":
        return None
    if name is None and source != "toytown":
        raise ConfigError(
            f"received no --shelf for {source}; expected the 2D model to label with: {', '.join(specs)}, or --sensors "
            "lidar for labels without pictures"
        )
    spec = specs[name or "toytown"]
    if isinstance(spec, ToyTownMaskModelSpec) and source != "toytown":
        raise ConfigError(f"received --shelf toytown for {source}; expected toytown, whose masks they are")
    return spec


def _engine(name: EngineName, workers: int | None, address: str | None, gpus_per_worker: float) -> Engine:
    if name == "ray":
        from lidarloop_training.pseudolabel.executors.ray import work_on_ray

        return partial(work_on_ray, num_workers=workers, address=address, gpus_per_worker=gpus_per_worker)
    from lidarloop_training.pseudolabel.executors.local import work_locally

    return partial(work_locally, num_workers=1 if workers is None else workers)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A progress bar; gives what to call with the samples done, and of how many."""
    from lidarloop_core.progress import progress_bars

    with progress_bars() as bars:
        task = bars.add_task("labelling", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
