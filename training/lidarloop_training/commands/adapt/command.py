"""``lidarloop adapt RUN DRIVES``: a detector of the toy town for real drives, without human labels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from lidarloop_core.cli import commands
from lidarloop_core.cli import main as main_command
from lidarloop_core.errors import ConfigError
from lidarloop_core.io.outputs import check_output
from lidarloop_core.progress import counted
from lidarloop_core.sample import SampleSource
from lidarloop_core.shell import command_line
from lidarloop_training.commands.adapt.lidar import compare_clouds
from lidarloop_training.commands.adapt.request import Request
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.recipes.adapt import task_of_source
from lidarloop_training.stages.adapt.rounds import (
    AdaptConfig,
    believed,
    finish_round,
    keep_plan,
    open_real,
    train_round,
)
from lidarloop_training.stages.adapt.step_report import StepReport
from lidarloop_training.stages.self_train import Judge, relabel
from lidarloop_training.stages.training_data import open_data


def adapt(
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")],
    request: Annotated[Request, tyro.conf.arg(name="")],
) -> None:
    """Adapts a detector of the toy town to real drives without human labels, and exports it.

    The drives are pseudo-labelled; training goes on with toy town and real drives together; the batch norms are
    measured on the real clouds; the last round's network becomes OUT/round-N/model.onnx. Time and memory of each step
    lie in OUT/steps.json. The same command continues a run that was interrupted.

    Args:
        run: the source: a run of `lidarloop train`, one of its checkpoints, or an exported model file, trained on the
            toy town with a LiDAR of the drives' kind.
        request: the kind of drive.

    Raises:
        ConfigError: OUT holds an adaptation with other settings, or one setting contradicts another.
        DatasetError: the drives cannot be read, or gave no label.
    """
    _check_alone()
    drives, console = request.drives(), Console()
    check_output(request.out, run, request.labels, *(getattr(drive, "path", None) for drive in drives))
    jobs = [] if request.labels is not None else [dataclasses.replace(request.job(), drive=each) for each in drives]
    num_sweeps = task_of_source(run).spec.num_sweeps
    clouds = open_real(drives, num_sweeps, cameras=False)
    config = request.config(run, clouds, console)
    keep_plan(config, drives, str(request.labels or "made here"))
    steps = StepReport(request.out / "steps.json", console)

    town = None
    if config.real_share < 1:
        with steps.step("toy town"):
            town, _ = open_data(config.train.data, num_sweeps, console)
        compare_clouds(town, clouds, request.town.lidar, console)
    for number, job in enumerate(jobs):
        with steps.step("pseudo-labels" + f" of drive {number + 1}" * (len(jobs) > 1)):
            _label(request, job, request.out / "labels" / str(number), console)
    adapted = _train(request, config, town, clouds, steps)
    model = config.round_folder(config.num_rounds) / "model.onnx"
    with steps.step(f"round {config.num_rounds}: export"):
        if not model.is_file() and main_command(["export", str(adapted), str(model)]):
            raise ConfigError(f"{adapted} received no model file; expected one: the lines above name the reason")
    console.print(steps.table())
    replay = command_line("lidarloop", "replay", "BAG", "--model", model, "--out", "out/replay")
    console.print(f"next: {replay}", soft_wrap=True, markup=False)


def _train(
    request: Request, config: AdaptConfig, town: SampleSource | None, clouds: SampleSource, steps: StepReport
) -> Path:
    """All rounds; gives the checkpoint of the last one."""
    labels, doubts, newest = request.labels or request.out / "labels", config.doubts, Path()
    for number in range(1, config.num_rounds + 1):
        if number > 1:
            labels = config.round_folder(number) / "labels"
            with steps.step(f"round {number}: labels of the round before, judged by their tracks"):
                relabel(newest, clouds, labels, config.min_score, steps.console, _judge(request))
            doubts = dataclasses.replace(doubts, ignore_unseen=False)  # the detector looks all round
        seen = clouds
        if doubts.ignore_unseen and request.steps.sensors != "lidar":
            seen = open_real(request.drives(), config.train.task.spec.num_sweeps, cameras=True)
        real = believed(seen, labels, doubts, steps.console)
        with steps.step(f"round {number}: training"):
            trained = train_round(config, number, town, real, steps.console)
        with steps.step(f"round {number}: batch norms"):
            newest = finish_round(config, number, trained, real, steps.console)
    return newest


def _label(request: Request, job: LabelJob, out: Path, console: Console) -> None:
    """The pseudo-labels of one drive, as ``lidarloop pseudolabel`` makes them.

    Raises:
        DatasetError: no label was found in the drive.
    """
    from lidarloop_training.pseudolabel.outcome import require_labels
    from lidarloop_training.pseudolabel.pipeline import label_drives

    with counted("labelling") as on_frames:
        labels = label_drives(job, out, request.executor.open(), on_frames)
    for line in require_labels(job, labels):
        console.print(line, highlight=False)


def _judge(request: Request) -> Judge | None:
    """The tracks of the refinement that pseudo-labels went through; None where the recipe has none."""
    from lidarloop_training.pseudolabel.refinement import refined

    _, refinement = request.steps.steps()
    if refinement is None:
        return None

    def judged(frames: Sequence[LabelledFrame], clouds: SampleSource) -> list[LabelledFrame]:
        return refined(frames, refinement, clouds)

    return judged


def _check_alone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"adapt received WORLD_SIZE {os.environ['WORLD_SIZE']}; expected one process, for it labels and exports as "
            "well. On several GPUs: pseudolabel, then torchrun … train"
        )
    if "export" not in commands():
        raise ConfigError("adapt found no `lidarloop export`; expected it installed: pip install lidarloop[export]")
