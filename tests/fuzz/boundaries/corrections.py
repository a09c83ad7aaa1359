"""What comes back from CVAT: its archive or JSON, and the task's own file beside it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from lidarloop_core.io.results import write_results
from lidarloop_training.data.writing.cvat import read_cvat_export, write_cvat_task
from tests.fuzz import mutate, trees


@cache
def _task() -> trees.Tree:
    def write(root: Path) -> None:
        boxes = {trees.STREET[i].token: trees.STREET[i].annotations.boxes for i in range(2)}
        write_results(root / "results.json", boxes, {"frame": "lidar"})
        write_cvat_task(root / "results.json", trees.STREET, root / "task")

    return trees.tree_of(write)


def case(rng: Random, folder: Path) -> Callable[[], object]:
    document, task = _task()["task/annotations/default.json"], _task()["task/task.json"]
    damages_task = rng.random() < 0.3
    content = document if damages_task else mutate.json_bytes(rng, json.loads(document))
    task_file = folder / "in" / "task.json"
    task_file.write_bytes(mutate.json_bytes(rng, json.loads(task)) if damages_task else task)
    export = folder / "in" / "default.json"
    if rng.random() < 0.4:
        export = folder / "in" / "export.zip"
        content = _zipped(rng.choice(("annotations/default.json", "default.json", "../../x.json")), content)
        content = mutate.data(rng, content) if rng.random() < 0.5 else content
    export.write_bytes(content)
    return lambda: read_cvat_export(export, task_file, folder / "out" / "back.json")


def _zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()
