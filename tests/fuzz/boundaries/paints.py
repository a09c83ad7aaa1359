"""Paints: damaged archives, hostile headers in intact ones, and what names the classes."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.painting.score_model import PictureScores
from lidarloop_core.sample import CameraImage
from lidarloop_training.data.views.painted import PaintedSource
from lidarloop_training.data.writing.paints import paint_drive
from tests.fuzz import mutate, trees


@dataclasses.dataclass(frozen=True)
class _Half:
    width: int
    height: int

    def at(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.full((len(pixels), 2), 0.5, np.float32)


class _Halves:
    """A score of a half everywhere."""

    name, class_names = "halves", ("car", "bus")

    def score(self, sample_token: str, images: Sequence[CameraImage]) -> list[PictureScores]:
        return [_Half(image.width, image.height) for image in images]


@cache
def _tree() -> trees.Tree:
    """The files of a painted drive."""
    return trees.tree_of(lambda root: paint_drive(trees.STREET, range(len(trees.STREET)), _Halves(), root))


def case(rng: Random, folder: Path) -> Callable[[], object]:
    root = trees.write_tree(_tree(), folder / "in")
    path = rng.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    kind = rng.choice(("bytes", "header", "header", "bomb"))
    if path.suffix == ".json":
        path.write_bytes(mutate.json_bytes(rng, json.loads(path.read_bytes())))
    elif kind == "bytes":
        path.write_bytes(mutate.data(rng, path.read_bytes()))
    else:
        path.write_bytes(_with_another_member(rng, path.read_bytes(), kind))
    if rng.random() < 0.02:
        trees.replace_file(rng, path)
    return lambda: trees.read_all(PaintedSource(trees.STREET, root))


def _with_another_member(rng: Random, content: bytes, kind: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members: dict[str, Any] = {name: archive.read(name) for name in archive.namelist()}
    if kind == "header":
        members["sweeps.json"] = mutate.json_bytes(rng, json.loads(members["sweeps.json"]))
    else:
        members[rng.choice(list(members))] = bytes(300_000_000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()
