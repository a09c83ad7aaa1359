"""``lidarloop paint``: the points of a drive, painted with the class scores of a 2D network."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal

import tyro

from lidarloop_core.errors import ConfigError
from lidarloop_core.io.outputs import check_output
from lidarloop_core.progress import counted
from lidarloop_core.shell import command_line
from lidarloop_training.commands.over_drives import D, one_of
from lidarloop_training.data.drive_lookup import drive_arguments
from lidarloop_training.data.drive_spec import KINDS, StoredDrive, ToyTown
from lidarloop_training.data.writing.paints import Painting, is_painted, paint_drive
from lidarloop_training.painting.score_model_choice import (
    ScoreModelSpec,
    SemanticModelSpec,
    key_of,
    open_score_model,
)
from lidarloop_training.pseudolabel.job import MASK_CACHE
from lidarloop_training.pseudolabel.mask_model_choice import (
    MasksFileSpec,
    OnnxMaskModelSpec,
    ToyTownMaskModelSpec,
    TransformersMaskModelSpec,
)
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class PaintRequest(Generic[D]):
    """What to paint, and with which network.

    Attributes:
        drive: what to read.
        out: folder of the paints; those of each network lie in a folder of their own in it.
        mask_model: the network: instance masks of transformers, onnx or a file, or the probabilities of a semantic
            segmenter.
        transformers: options of --mask-model transformers.
        onnx: options of --mask-model onnx.
        masks: options of --mask-model masks.
        semantic: options of --mask-model semantic.
        num_sweeps: sweeps of a sample that are painted, as many as the model to be trained merges.
        mask_cache: folder in which the masks of --mask-model onnx and transformers are kept, by picture and model; by
            default mask-cache beside OUT.
    """

    drive: Annotated[D, tyro.conf.arg(name="")]
    out: Path
    mask_model: Literal["transformers", "onnx", "masks", "semantic"] | None = None
    transformers: TransformersMaskModelSpec = field(default_factory=TransformersMaskModelSpec)
    onnx: OnnxMaskModelSpec = field(default_factory=OnnxMaskModelSpec)
    masks: MasksFileSpec = field(default_factory=MasksFileSpec)
    semantic: SemanticModelSpec = field(default_factory=SemanticModelSpec)
    num_sweeps: int = 3
    mask_cache: Path | None = None

    def __post_init__(self) -> None:
        check_ranges("paint", num_sweeps=(self.num_sweeps, 1, 100))

    def chosen(self) -> ScoreModelSpec:
        """The network.

        Raises:
            ConfigError: none was named, or options would be ignored.
        """
        specs = self._specs()
        used = self.mask_model or self._usual
        for name, spec in specs.items():
            if name != used and spec != type(spec)():
                raise ConfigError(f"received options of --mask-model {name} without it; expected --mask-model {name}")
        if used is None:
            raise ConfigError(f"received no --mask-model; expected the network to paint with: {', '.join(specs)}")
        return specs[used]

    @property
    def _usual(self) -> str | None:
        return None

    def _specs(self) -> dict[str, ScoreModelSpec]:
        return {
            "transformers": self.transformers,
            "onnx": self.onnx,
            "masks": self.masks,
            "semantic": self.semantic,
        }


@dataclass(frozen=True)
class ToyTownPaintRequest(PaintRequest[ToyTown]):
    """What to paint of the toy town, and with which network.

    Attributes:
        mask_model: the network; by default toytown, the toy town's own masks, degraded.
        toytown: options of --mask-model toytown.
    """

    mask_model: Literal["toytown", "transformers", "onnx", "masks", "semantic"] | None = None  # type: ignore[assignment]  # wider
    toytown: ToyTownMaskModelSpec = field(default_factory=ToyTownMaskModelSpec)

    @property
    def _usual(self) -> str | None:
        return "toytown"

    def _specs(self) -> dict[str, ScoreModelSpec]:
        return {**super()._specs(), "toytown": self.toytown}


if TYPE_CHECKING:
    Request = PaintRequest[Any]
else:
    Request = one_of({kind: ToyTownPaintRequest if kind is ToyTown else PaintRequest[kind] for kind in KINDS})


def paint(request: Annotated[Request, tyro.conf.arg(name="")]) -> None:
    """Paints a drive's points with a 2D network's class scores, for a teacher: OUT/<network>/<drive>/.

    The same command continues a run that was interrupted.

    Args:
        request: the kind of drive.
    """
    if isinstance(request.drive, StoredDrive):
        check_output(request.out, request.drive.path)
    spec = request.chosen()
    drives = request.drive.open(num_sweeps=request.num_sweeps, lane_map=False)
    model = open_score_model(spec, drives, request.mask_cache or request.out.resolve().parent / MASK_CACHE)
    folder = request.out / key_of(spec, model)
    total = Painting(0, 0, 0)
    with counted("painting") as on_sample:
        for drive, group in groupby(range(len(drives)), key=lambda index: drives.keys[index].drive):
            if not is_painted(folder, drive):
                painted = paint_drive(
                    drives, list(group), model, folder, on_sample=lambda index: on_sample(index + 1, len(drives))
                )
                total = total.plus(*painted)
    print(f"painted {total.num_samples} samples with {model.name}: {', '.join(model.class_names)}")
    if total.num_points:
        print(f"a camera sees {100 * total.num_seen / total.num_points:.0f} % of their points")
    name, place, *_ = drive_arguments(request.drive)
    following = ("train", "painted-drives", "--data.source", name, "--data.path", place, "--data.paints", folder)
    print(f"next: {command_line('lidarloop', *following)}")
