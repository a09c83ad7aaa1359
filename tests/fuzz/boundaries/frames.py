"""Kept frames: damaged archives, archives that unpack to more than they hold, and hostile values inside intact ones."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lidarloop_core.io.images import encode_jpeg
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.labelling.selection.frame_file import SUFFIX, KeptFrame, read_frame, read_header, write_frame
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.drive_lookup import drive_named
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from tests.fuzz import mutate, trees


@cache
def _members() -> dict[str, bytes]:
    """The files inside a valid frame."""
    sample = trees.STREET[0]
    assert sample.annotations is not None
    boxes = sample.annotations.boxes
    num = len(boxes)
    cameras = tuple(
        dataclasses.replace(camera, load=encode_jpeg(np.asarray(trees.picture()))) for camera in sample.cameras
    )
    labels = PseudoLabels(
        boxes, np.full(num, 0.5, np.float32), np.full(num, 4), (("CAM_FRONT",),) * num, ("lane",) * num
    )
    kept = KeptFrame(dataclasses.replace(sample, cameras=cameras), labels, 0.5, ("rare class",), (), {"model": "ab"})
    (content,) = trees.tree_of(lambda root: write_frame(root / "frame", kept)).values()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def case(rng: Random, folder: Path) -> Callable[[], object]:
    members = dict(_members())
    kind = rng.choice(("document", "document", "document", "archive", "archive", "member", "bomb", "header", "flags"))
    if kind == "document":
        members["frame.json"] = mutate.json_bytes(rng, json.loads(members["frame.json"]))
    elif kind == "member":
        name = rng.choice(list(members))
        members[name] = mutate.data(rng, members[name])
    elif kind == "bomb":
        members[rng.choice(list(members))] = bytes(300_000_000)
    elif kind == "header":
        members["sweep-00.npy"] = _array_file(rng)
    content = bytearray(_packed(members, zipfile.ZIP_DEFLATED if kind == "bomb" or rng.random() < 0.3 else 0))
    if kind == "archive":
        content = bytearray(mutate.data(rng, bytes(content)))
    elif kind == "flags":  # encrypted, or compressed by an unknown method
        for start in _directory_entries(content):
            content[start + rng.choice((8, 10))] = rng.choice((1, 99, 12, 14))
    path = folder / "in" / f"{1_700_000_000_000_000_000:020d}-0500{SUFFIX}"
    path.write_bytes(bytes(content))
    if rng.random() < 0.02:
        trees.replace_file(rng, path)
    return rng.choice(
        (lambda: read_frame(path), lambda: read_header(path), lambda: _through_source(folder, rng.random()))
    )


def _packed(members: dict[str, bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _directory_entries(content: bytearray) -> list[int]:
    """Where the entries of the archive's central directory begin."""
    starts, start = [], content.find(b"PK\x01\x02")
    while start >= 0:
        starts.append(start)
        start = content.find(b"PK\x01\x02", start + 4)
    return starts


def _array_file(rng: Random) -> bytes:
    """A .npy file whose header promises more than there is, or is huge itself."""
    shape: Any = rng.choice(("(1000000000, 5)", "(2, 5)", "(-1, 5)", "(5,)", "()", "(10**30, 5)", "x" * 60_000))
    kind = rng.choice(("<f4", "|O", "<f8", "<U9", "<i4"))
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + min(len(header), 65_535).to_bytes(2, "little") + header + bytes(40)


def _through_source(folder: Path, choice: float) -> None:
    source = drive_named("kept", str(folder / "in")).open()
    if choice < 0.5:
        trees.read_all(source)
    elif choice < 0.8:
        write_nuscenes(source, folder / "out" / "town")
    else:
        write_bag(source, folder / "out" / "drive.mcap")
