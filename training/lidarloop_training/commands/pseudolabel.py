"""``lidarloop pseudolabel``: 3D labels for an unlabelled drive."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic

import tyro

from lidarloop_core.io.outputs import check_output
from lidarloop_core.shell import command_line
from lidarloop_training.commands.over_drives import D, one_of
from lidarloop_training.commands.pseudolabel_options import (
    ExecutorOptions,
    MaskModelOptions,
    PieceOptions,
    StepOptions,
    ToyTownMaskModelOptions,
)
from lidarloop_training.data.drive_lookup import drive_arguments
from lidarloop_training.data.drive_spec import KINDS, ToyTown
from lidarloop_training.pseudolabel.job import MASK_CACHE, LabelJob
from lidarloop_training.pseudolabel.mask_model_choice import ToyTownMaskModelSpec


@dataclass(frozen=True)
class Labelling(Generic[D]):
    """How a drive is labelled.

    Attributes:
        drive: what to read.
        out: folder of the run.
        masks: which 2D model labels.
        steps: how labels are made.
        pieces: what is labelled of the drive, and in what pieces.
        executor: what runs the work.
        mask_cache: folder in which the masks of --mask-model onnx and transformers are kept, by picture and model, so
            that another recipe or threshold does not run the networks again; by default mask-cache beside OUT.
    """

    drive: Annotated[D, tyro.conf.arg(name="")]
    out: Path
    masks: Annotated[MaskModelOptions, tyro.conf.arg(name="")] = field(default_factory=MaskModelOptions)
    steps: Annotated[StepOptions, tyro.conf.arg(name="")] = field(default_factory=StepOptions)
    pieces: Annotated[PieceOptions, tyro.conf.arg(name="")] = field(default_factory=PieceOptions)
    executor: Annotated[ExecutorOptions, tyro.conf.arg(name="")] = field(default_factory=ExecutorOptions)
    mask_cache: Path | None = None

    def job(self) -> LabelJob:
        """The labelling run that is asked for.

        Raises:
            ConfigError: a value is out of range, or an option would be ignored.
        """
        lifting, refinement = self.steps.steps()
        return LabelJob(
            drive=self.drive,
            mask_model=self.masks.chosen(self.steps.sensors),
            lifting=lifting,
            refinement=refinement,
            priors=self.steps.shape_priors(),
            sensors=self.steps.sensors,
            every=self.pieces.every,
            segment_frames=self.pieces.segment_frames,
            max_picture_mpx=self.pieces.max_picture_mpx,
            mask_cache=self.mask_cache or self.out.resolve().parent / MASK_CACHE,
        )


@dataclass(frozen=True)
class LabelRequest(Labelling[D]):
    """What to label, and how.

    Attributes:
        report: also writes OUT/report.html and OUT/metrics.json: the quality of the labels.
        overwrite: begin anew where OUT holds a labelling run.
    """

    report: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class ToyTownLabelRequest(LabelRequest[ToyTown]):
    """What to label of the toy town, and how.

    Attributes:
        masks: which 2D model labels.
    """

    masks: Annotated[ToyTownMaskModelOptions, tyro.conf.arg(name="")] = field(default_factory=ToyTownMaskModelOptions)


if TYPE_CHECKING:
    Request = LabelRequest[Any]
else:
    Request = one_of({kind: ToyTownLabelRequest if kind is ToyTown else LabelRequest[kind] for kind in KINDS})


def pseudolabel(request: Annotated[Request, tyro.conf.arg(name="")]) -> None:
    """Labels a drive from its images and clouds: OUT/<drive>/labels.json, and evidence.json beside it.

    The same command continues a run that was interrupted.

    Args:
        request: the kind of drive.

    Raises:
        DatasetError: no label was found in the drive.
    """
    job, out = request.job(), request.out
    check_output(out, getattr(request.drive, "path", None))
    executor = request.executor.open()
    # Heavy imports only now, so that `--help` and wrong usage answer at once.
    from lidarloop_core.progress import counted
    from lidarloop_training.pseudolabel.manifest import remove_run
    from lidarloop_training.pseudolabel.outcome import require_labels
    from lidarloop_training.pseudolabel.pipeline import label_drives

    if isinstance(job.mask_model, ToyTownMaskModelSpec):
        print("the 2D model is the toy town's stand-in: true masks, degraded at the rates of --toytown.faults")
    if request.overwrite:
        remove_run(out)
    started = time.monotonic()
    with counted("labelling") as on_frames:
        labels = label_drives(job, out, executor, on_frames)
    print(f"labelled in {time.monotonic() - started:.1f} s:")
    for file in labels:
        print(file)
    for line in require_labels(job, labels):
        print(line)
    if request.report:
        from lidarloop_training.pseudolabel.report import write_report

        print(write_report(job, labels, out))
    words = drive_arguments(request.drive)
    view = command_line("lidarloop", "view", *words, "--results", labels[0], "--every", job.every)
    print(f"look: {view}")
    if not isinstance(request.drive, ToyTown):
        data = ("--data.source", words[0], "--data.path", words[1], "--data.labels", out)
        print(f"next: {command_line('lidarloop', 'train', 'pillar-pretrain', *data)}")
