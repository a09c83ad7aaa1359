"""Valid drives on disk, small and made once for each process, and folders of files with one of them damaged."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from lidarloop_core.io import outside
from lidarloop_core.sample import SampleSource
from tests.fuzz import mutate
from tests.training.street import StreetSource

Tree = dict[str, bytes]
"""Path in the folder → content."""

STREET = StreetSource(num_frames=4)


def tree_of(write: Callable[[Path], object]) -> Tree:
    """What ``write`` makes in an empty folder."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write(root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def write_tree(tree: Tree, root: Path) -> Path:
    """Writes the files below ``root``."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_damaged(rng: Random, tree: Tree, root: Path) -> Path:
    """Writes the files, and damages one or two of them by their kind; tables and texts more often than numbers."""
    write_tree(tree, root)
    weights = [3.0 if Path(name).suffix in (".json", ".txt") else 1.0 for name in tree]
    for name in rng.choices(list(tree), weights, k=rng.choice((1, 1, 2))):
        damage_file(rng, root / name)
    return root


def damage_file(rng: Random, path: Path) -> None:
    """Exchanges a file's content by its kind, or the file for something else."""
    if not path.is_file():
        return
    if rng.random() < 0.05:
        replace_file(rng, path)
    elif path.suffix == ".json" and (document := _document(path.read_bytes())) is not None:
        path.write_bytes(mutate.json_bytes(rng, document))
    elif path.suffix == ".txt" and path.read_bytes():
        path.write_bytes(mutate.text(rng, path.read_text(errors="surrogateescape")))
    elif path.suffix in (".bin", ".label") and rng.random() < 0.7:
        path.write_bytes(hostile_numbers(rng, path.read_bytes()))
    else:
        path.write_bytes(mutate.data(rng, path.read_bytes()))


def _document(content: bytes) -> Any:
    """The value of a JSON text; None where it is none, for a file may have been damaged before."""
    try:
        return outside.parse_json(content)
    except ValueError:
        return None


def replace_file(rng: Random, path: Path) -> None:
    """No file, a folder, a pipe, a device or a dead link in a file's place."""
    path.unlink()
    kind = rng.choice(("missing", "folder", "pipe", "zeros", "link"))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to("nowhere")


def hostile_numbers(rng: Random, content: bytes) -> bytes:
    """A file of float32 numbers with some of them extreme or not finite."""
    numbers = np.frombuffer(content[: len(content) // 4 * 4], "<f4").copy()
    for _ in range(rng.choice((1, 3, 50))):
        if len(numbers):
            with np.errstate(over="ignore"):
                numbers[rng.randrange(len(numbers))] = np.float32(mutate.number(rng))
    return numbers.tobytes()


def read_all(source: SampleSource, num_samples: int = 3) -> None:
    """Reads all of the first samples of a source: names, labels, poses, clouds, pictures."""
    assert len(source.keys) == len(source)
    for index in range(min(len(source), num_samples)):
        sample = source[index]
        source.annotations(index)
        source.pose(index)
        for camera in sample.cameras:
            camera.load()


def picture(width: int = 40, height: int = 30) -> Image.Image:
    """A picture that compresses to a few hundred bytes."""
    return Image.fromarray(np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)).convert("RGB")


@cache
def drives() -> dict[str, tuple[Tree, str]]:
    """Kind of drive, as ``lidarloop convert`` names it → its files, and the path in the folder that it is opened by."""
    from lidarloop_training.data.nuscenes.writer import write_nuscenes
    from tests.fuzz import drive_files
    from tests.training.data.kitti.tracking_fixture import write_tracking
    from tests.training.data.once import fixture as once
    from tests.training.data.pandaset import fixture as pandaset
    from tests.training.data.view_of_delft.fixture import write_view_of_delft
    from tests.training.data.waymo import fixture as waymo

    return {
        "nuscenes": (tree_of(lambda root: write_nuscenes(STREET, root / "town", keyframe_every=2)), "town"),
        "kitti-raw": (tree_of(drive_files.write_kitti_raw), "2011_09_26/2011_09_26_drive_0001_sync"),
        "kitti-object": (tree_of(drive_files.write_kitti_object), "."),
        "kitti-tracking": (tree_of(write_tracking), "."),
        "pandaset": (tree_of(lambda root: pandaset.write_published(root / "002")), "002"),
        "view-of-delft": (tree_of(write_view_of_delft), "."),
        "semantic-kitti": (tree_of(drive_files.write_semantic_kitti), "dataset"),
        "av2": (tree_of(drive_files.write_av2), "."),
        "once": (tree_of(once.write_sequence), "."),
        "waymo": (tree_of(lambda root: waymo.write_segment(root, waymo.Options())), "."),
    }
