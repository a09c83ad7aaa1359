"""``lidarloop corrections``: results to a CVAT task, and back when a person has corrected them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic

import tyro

from lidarloop_core.errors import DatasetError
from lidarloop_core.io.outputs import check_output, check_replaced
from lidarloop_core.shell import command_line
from lidarloop_training.commands.over_drives import D, one_of
from lidarloop_training.data.drive_spec import KINDS


@dataclass(frozen=True)
class TaskRequest(Generic[D]):
    """A CVAT task of results.

    Attributes:
        drive: the drive that the results are of.
        results: results JSON to correct: detections or pseudo-labels.
        out: folder of the task; is made.
        min_score: boxes below it are left out of the task.
    """

    drive: Annotated[D, tyro.conf.arg(name="")]
    results: Path
    out: Path
    min_score: float = 0.3


if TYPE_CHECKING:
    Request = TaskRequest[Any]
else:
    Request = one_of({kind: TaskRequest[kind] for kind in KINDS})


def send(request: Annotated[Request, tyro.conf.arg(name="")]) -> None:
    """Makes a CVAT task of results: clouds, images and the boxes to correct.

    Args:
        request: the kind of drive that the results are of.
    """
    from lidarloop_training.data.writing.cvat import write_cvat_task

    out = request.out
    check_replaced(out, request.results, getattr(request.drive, "path", None))
    num_boxes = write_cvat_task(request.results, request.drive.open(), out, min_score=request.min_score)
    print(f"{out}  ({num_boxes} boxes to look at)")
    print(f"next: create a 3D task of {out}/upload in CVAT with the labels of {out}/labels.json; zip")
    print(f"      {out}/annotations and import it as 'Datumaro 3D 1.0'; export the same into {out} when done, then")
    print(f"      {command_line('lidarloop', 'corrections', 'receive', out / 'EXPORT.zip', '--out', 'corrected.json')}")


def receive(
    export: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="EXPORT")],
    *,
    out: Path,
    overwrite: bool = False,
) -> None:
    """Turns what CVAT exported into results again.

    Args:
        export: the zip from CVAT in the task's folder, exported as "Datumaro 3D 1.0".
        out: results JSON to write.
        overwrite: replace OUT.

    Raises:
        DatasetError: OUT exists, or the export is not of the task in its folder.
    """
    from lidarloop_training.data.writing.cvat import CORRECTED, TASK_FILE, read_cvat_export

    check_output(out, export, export.parent / TASK_FILE)
    if out.exists() and not overwrite:
        raise DatasetError(f"{out} exists: choose another file, or pass --overwrite to replace it")
    num_boxes = read_cvat_export(export, export.parent / TASK_FILE, out)
    print(f"{out}  ({num_boxes} boxes, {CORRECTED})")
