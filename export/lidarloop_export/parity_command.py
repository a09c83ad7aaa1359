"""`lidarloop parity MODEL`: other precisions and other runtimes against the model as it was exported."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro

from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.backend import Backend, open_backend
from lidarloop_core.io import atomic
from lidarloop_core.io.outputs import check_output
from lidarloop_core.machine import machine, versions
from lidarloop_core.model.model_file import read_model
from lidarloop_core.model.outputs import Segmentation
from lidarloop_export.box_parity import LIMITS, Deviations, deviations
from lidarloop_export.drive import (
    Cloud,
    Drive,
    PointCloud,
    detect_all,
    label_all,
    mean_ap,
    mean_iou,
    read_drive,
    read_points,
)
from lidarloop_export.limits import beyond
from lidarloop_export.point_parity import POINT_LIMITS, PointDeviations, point_deviations
from lidarloop_training.ranges import check_ranges

Runtime = Literal["onnxruntime", "onnxruntime-cuda", "tensorrt", "torch", "torch-cuda"]


@dataclass(frozen=True)
class Row:
    """One way of running the model.

    Attributes:
        model: name of the file, or of the checkpoint.
        precision: precision of the file.
        device: what it ran on, as the runtime reports it.
        deviations: from the reference.
        beyond: what is above its limit; empty where it agrees.
    """

    model: str
    precision: str
    device: str
    deviations: Deviations | PointDeviations
    beyond: list[str]


def parity(
    model: tyro.conf.Positional[Path],
    *,
    drive: Drive,
    against: tuple[Runtime, ...] = ("onnxruntime",),
    variants: tuple[Path, ...] = (),
    checkpoint: Path | None = None,
    frames: int = 40,
    json: Path | None = None,
) -> int:
    """Compares boxes, or labels of points: the exported model in onnxruntime on the CPU against other ways to run it.

    Every variant is run by every runtime named. Exits with 1 where one deviates more than its precision allows.

    Args:
        model: the model file in fp32 that the others were made from.
        drive: what they run on, as `lidarloop convert` names it, e.g. toytown 3301. With labels, mAP is compared too,
            or mIoU.
        against: the runtimes.
        variants: model files made by `lidarloop optimise`; the model itself is always among them.
        checkpoint: for torch: the run that the model was exported from.
        frames: clouds, spread over the drive.
        json: also writes the report to this file.
    """
    check_output(json, model, *variants, checkpoint, Path(drive[1]))
    check_ranges("parity", frames=(frames, 1, 100_000))
    reference = open_backend(model)
    candidates = _candidates(model, against, variants, checkpoint)
    is_segmenter = isinstance(reference.spec.outputs, Segmentation)
    if is_segmenter:
        labelled = read_points(drive, reference.spec, frames)
        num_clouds, rows = len(labelled), compare_points(reference, labelled, candidates)
    else:
        clouds = read_drive(drive, reference.spec, frames)
        num_clouds, rows = len(clouds), compare(reference, clouds, candidates)
    _print(rows, f"{model.name} in {reference.device}, {num_clouds} clouds of {' '.join(drive)}")
    if json is not None:
        document = {
            "command": sys.argv,
            "drive": list(drive),
            "num_clouds": num_clouds,
            "machine": machine(),
            "versions": versions(),
            "limits": {n: asdict(limits) for n, limits in (POINT_LIMITS if is_segmenter else LIMITS).items()},
            "rows": [asdict(row) for row in rows],
        }
        atomic.write_bytes(json, (json_module.dumps(document, indent=1) + "\n").encode())
    return int(any(row.beyond for row in rows))


Candidate = tuple[str, str, Callable[[], Backend]]
"""Name, precision, and how it is opened: one after another, so that two engines need not fit the GPU at once."""


def compare(reference: Backend, clouds: list[Cloud], candidates: list[Candidate]) -> list[Row]:
    """A row for each candidate, a detector."""
    expected = detect_all(reference, clouds)
    before = mean_ap(expected, clouds)
    rows = []
    for name, precision, opened in candidates:
        backend = opened()
        found = detect_all(backend, clouds)
        apart = deviations(expected, found, before, mean_ap(found, clouds))
        rows.append(Row(name, precision, backend.device, apart, beyond(apart, LIMITS[precision])))
    return rows


def compare_points(reference: Backend, clouds: list[PointCloud], candidates: list[Candidate]) -> list[Row]:
    """A row for each candidate, a segmenter."""
    names = reference.spec.class_names
    expected = label_all(reference, clouds)
    before = mean_iou(expected, clouds, names)
    rows = []
    for name, precision, opened in candidates:
        backend = opened()
        found = label_all(backend, clouds)
        apart = point_deviations(expected, found, before, mean_iou(found, clouds, names))
        rows.append(Row(name, precision, backend.device, apart, beyond(apart, POINT_LIMITS[precision])))
    return rows


def _candidates(
    model: Path, against: tuple[Runtime, ...], variants: tuple[Path, ...], checkpoint: Path | None
) -> list[Candidate]:
    files = [(path, read_model(path)) for path in (model, *variants)]
    for path, file in files:
        if file.spec != files[0][1].spec:
            raise ConfigError(
                f"parity received {path}, whose spec is not that of {model}; expected a variant of the same model"
            )
    found: list[Candidate] = []
    for runtime in against:
        if runtime in ("torch", "torch-cuda"):
            if checkpoint is None:
                raise ConfigError("parity --against torch received no --checkpoint; expected the run's folder")
            found.append((checkpoint.name, "fp32", _torch(checkpoint, "cuda" if runtime == "torch-cuda" else "cpu")))
            continue
        providers = {
            "onnxruntime": ("CPUExecutionProvider",),
            "onnxruntime-cuda": ("CUDAExecutionProvider",),
            "tensorrt": ("tensorrt",),
        }[runtime]
        found += [(path.name, file.precision, _opened(path, providers)) for path, file in files]
    return found


def _opened(path: Path, providers: tuple[str, ...]) -> Callable[[], Backend]:
    return lambda: open_backend(path, providers=providers)


def _torch(checkpoint: Path, device: str) -> Callable[[], Backend]:
    def opened() -> Backend:
        from lidarloop_training.stages.infer import TorchBackend

        return TorchBackend.of_checkpoint(checkpoint, device)

    return opened


def _print(rows: list[Row], title: str) -> None:
    """A column for each candidate: there are more figures than candidates."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", *(f"{row.model}\n{row.precision}\n{row.device}" for row in rows), title=f"against {title}")
    columns = [_figures(row.deviations) for row in rows]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    table.add_row("agrees", *("no: " + ", ".join(row.beyond) if row.beyond else "yes" for row in rows))
    Console().print(table)


def _figures(d: Deviations | PointDeviations) -> dict[str, str]:
    """Name of a row of the table → its text."""
    if isinstance(d, PointDeviations):
        scores = "–" if d.miou_before is None else f"{d.miou_before:.2f} → {d.miou_after:.2f}"
        return {
            "confident points": str(d.num_points),
            "with another label, %": f"{d.differing_percent:.2g}",
            "score, p50 / p99": f"{d.score_p50:.2g} / {d.score_p99:.2g}",
            "mIoU, %": scores,
        }
    return {
        "confident boxes": str(d.num_boxes),
        "centre, cm, p50 / p99": f"{d.center_p50_cm:.2g} / {d.center_p99_cm:.2g}",
        "yaw, °, p50 / p99": f"{d.yaw_p50_deg:.2g} / {d.yaw_p99_deg:.2g}",
        "score, p50 / p99": f"{d.score_p50:.2g} / {d.score_p99:.2g}",
        "without a partner, %": f"{d.unmatched_percent:.2g}",
        "mAP, %": "–" if d.map_before is None else f"{d.map_before:.2f} → {d.map_after:.2f}",
    }
