"""Pseudo-labels of real drives against their human labels: what is wrong with them, and what each step contributes.

    python -m benchmarks.streets.labels                            # both recipes on all drives
    python -m benchmarks.streets.labels --on kitti-0001 kitti-object-even --rows full "full, all candidates"
    python -m benchmarks.streets.labels --masks-alone              # only the 2D networks, which take seconds an image

Settings are chosen on ``TUNING`` alone; the other drives are for reports. Masks and lifted labels are kept in a folder
outside the repository, so that a row that differs in refinement alone takes seconds. Masks that are missing are made
first.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tyro

import lidarloop_core.labelling
from benchmarks.checks import REAL_DATA, REPOSITORY, as_json, commit
from benchmarks.streets.drives import REPORTED, TUNING, RealDrive, drives
from benchmarks.streets.label_scores import ClassScore, Labels, score_labels
from benchmarks.streets.pack import UNPACKED
from lidarloop_core.errors import ConfigError
from lidarloop_core.io import atomic
from lidarloop_core.labelling.mask_models.onnx_mask_model import open_onnx_mask_model
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.machine import machine, versions
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame
from lidarloop_training.pseudolabel.ablations import Trial, candidates, trials
from lidarloop_training.pseudolabel.frames import frame_document, read_frame
from lidarloop_training.pseudolabel.job import plain, sha256_of
from lidarloop_training.pseudolabel.mask_cache import CachedMaskModel
from lidarloop_training.pseudolabel.mask_model_choice import OnnxMaskModelSpec
from lidarloop_training.pseudolabel.refinement import refined
from lidarloop_training.pseudolabel.variants import MaskLifter

RESULTS = REPOSITORY / "results/streets_labels.json"
KEPT = UNPACKED.parent / "streets_labels"
DETECTOR, SEGMENTER = "yolox_nano_bigisland.onnx", "espnetv2_s2_city_512x1024.onnx"


@dataclass(frozen=True)
class Networks:
    """The 2D networks, and where what is made of them is kept.

    Attributes:
        models: folder of the two networks.
        kept: folder of masks and lifted labels, outside the repository.
    """

    models: Path = REAL_DATA / "models2d"
    kept: Path = KEPT

    def open(self) -> CachedMaskModel:
        """The masks, kept by image.

        Raises:
            ConfigError: ``kept`` lies in the repository.
        """
        if self.kept.resolve().is_relative_to(REPOSITORY):
            raise ConfigError(f"received {self.kept}; expected a folder outside the repository: --networks.kept FOLDER")
        files = self.models / DETECTOR, self.models / SEGMENTER
        model = open_onnx_mask_model(*files, num_threads=1)
        return CachedMaskModel(model, OnnxMaskModelSpec(*files), self.kept / "mask-cache")


# --- one row on one drive ---------------------------------------------------------------------------------------------


def label(drive: RealDrive, indices: Sequence[int], trial: Trial, networks: Networks) -> list[LabelledFrame]:
    """Labels of some frames of a drive, as a labelling run makes them: lifted, then refined over the drive."""
    _, refinement = trial.steps()
    return refined(lifted(drive, indices, trial, networks), refinement, drive.spec.open())


def lifted(drive: RealDrive, indices: Sequence[int], trial: Trial, networks: Networks) -> list[LabelledFrame]:
    """Labels before refinement; from the disk where the same code made them before."""
    lifting, _ = trial.steps()
    key = sha256_of({"lifting": plain(lifting), "drive": plain(drive.spec), "frames": [*indices], "code": _code()})
    path = networks.kept / "lifted" / f"{key[:24]}.json"
    if not path.is_file():
        mask_model = networks.open()
        lifter = MaskLifter(mask_model, ShapePriors.paper(), lifting)
        source = drive.spec.open(num_sweeps=lifting.num_sweeps)
        frames = [frame_document(LabelledFrame.of(i, source[i], *lifter(source[i], None))) for i in indices]
        atomic.write_bytes(path, json.dumps({"class_names": lifter.class_names, "frames": frames}).encode())
    document = json.loads(path.read_bytes())
    return [read_frame(frame, tuple(document["class_names"])) for frame in document["frames"]]


@cache
def _code() -> str:
    """Hash of the modules that lift: what is kept of an older version is not taken up."""
    files = [file for root in lidarloop_core.labelling.__path__ for file in sorted(Path(root).rglob("*.py"))]
    lifts = [file for file in files if file.parent.name not in ("refining", "selection", "painting")]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in lifts)).hexdigest()[:16]


def score_drive(drive: RealDrive, indices: Sequence[int], trial: Trial, networks: Networks) -> dict[str, ClassScore]:
    """Class → scores of a row on some frames of a drive."""
    frames = label(drive, indices, trial, networks)
    labels = {frame.token: Labels(frame.labels.boxes, frame.labels.num_points) for frame in frames}
    source = drive.spec.open()
    return score_labels([drive.scored(source[index]) for index in indices], labels)


# --- the command ------------------------------------------------------------------------------------------------------


def run(
    on: tuple[str, ...] = (*TUNING, *REPORTED),
    rows: tuple[str, ...] = ("paper", "full"),
    networks: Networks = Networks(),
    every: int = 1,
    out: Path | None = RESULTS,
    masks_alone: bool = False,
) -> int:
    """Labels drives, prints their scores, and writes them to OUT.

    Args:
        on: names of drives.
        rows: names of rows, as ``lidarloop_training.pseudolabel.ablations`` has them.
        networks: the 2D networks, and where what is made of them is kept.
        every: labels each n-th frame, for a first look.
        out: JSON file to which the scores are added; None writes none.
        masks_alone: make the masks and stop.

    Raises:
        ConfigError: an unknown drive or row.
    """
    known_drives, known_rows = drives(), rows_by_name()
    for wanted, known in ((on, known_drives), (rows, known_rows)):
        if unknown := sorted({*wanted} - {*known}):
            raise ConfigError(f"received {', '.join(unknown)}; expected some of: {'; '.join(known)}")
    for name in on:
        drive = known_drives[name]
        indices = drive.frames(every)
        if masks_alone:
            _make_masks(drive, indices, networks)
            continue
        for row in rows:
            started = time.monotonic()
            scores = score_drive(drive, indices, known_rows[row], networks)
            print(f"\n{name}, {len(indices)} frames: {row} ({time.monotonic() - started:.0f} s)")
            print(table(scores), flush=True)
            if out is not None:
                _record(out, name, row, len(indices), scores)
    return 0


def _make_masks(drive: RealDrive, indices: Sequence[int], networks: Networks) -> None:
    model, source = networks.open(), drive.spec.open()
    for index in indices:
        started = time.monotonic()
        found = model.find(source[index].token, source[index].cameras)
        print(source[index].token, sum(map(len, found)), "masks", f"{time.monotonic() - started:.1f} s", flush=True)


_SHOWN = {
    "objects": "objects", "labels": "labels", "precision": "prec", "recall": "recall", "ap": "AP", "ap_2m": "AP2m",
    "centre_m": "centre", "length_m": "dl", "longer_m": "longer", "width_m": "dw", "wider_m": "wider",
    "height_m": "dh", "above_m": "above", "axis_rad": "axis", "heading_rad": "AOE", "turned": "turned",
    "velocity_mps": "AVE", "interruptions": "breaks", "doubles": "doubles", "filled": "filled",
}  # fmt: skip


def rows_by_name() -> dict[str, Trial]:
    """All rows: both recipes, each step of them as the paper has it, and the steps that are no part of them yet."""
    return {trial.name: trial for trial in (*trials(), *candidates())}


def table(scores: dict[str, ClassScore]) -> str:
    """The scores in columns, a line for each class."""
    lines = [f"{'':14}" + "".join(f"{title:>8}" for title in _SHOWN.values())]
    for name, one in scores.items():
        cells = (getattr(one, key) for key in _SHOWN)
        lines.append(f"{name[:14]:14}" + "".join(f"{c:8d}" if isinstance(c, int) else f"{c:8.3f}" for c in cells))
    return "\n".join(lines)


def _record(out: Path, drive: str, row: str, num_frames: int, scores: dict[str, ClassScore]) -> None:
    """Adds a row to the results."""
    document: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {"runs": []}
    runs = [one for one in document["runs"] if (one["drive"], one["row"]) != (drive, row)]
    command = ["python", "-m", "benchmarks.streets.labels", *sys.argv[1:]]
    made_by = {"command": command, "commit": commit(), "machine": machine(), "versions": versions()}
    scored = {name: one.document() for name, one in scores.items()}
    runs.append({"drive": drive, "row": row, "frames": num_frames, "classes": scored, **made_by})
    atomic.write_bytes(out, as_json({"runs": runs}))


if __name__ == "__main__":
    sys.exit(tyro.cli(run))
