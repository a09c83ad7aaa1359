"""Writes any source as nuScenes v1.0 tables, which the official devkit opens.

Scenes keep their own names and their maps are named after them. The devkit has lists of its own of both: its
``DetectionEval`` scores official scene names only, and its ``NuScenesMap`` opens a map once the name was appended to
``nuscenes.map_expansion.map_api.locations``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from lidarloop_core.errors import DatasetError
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.nuscenes.classes import (
    ATTRIBUTES,
    CATEGORY_TO_CLASS,
    VISIBILITY_LEVELS,
)
from lidarloop_training.data.nuscenes.lidarseg_classes import CATEGORY_TO_LABEL_NAME
from lidarloop_training.data.nuscenes.scene import Scene
from lidarloop_training.data.nuscenes.tables import LIDARSEG, Tables, token, write_synced
from lidarloop_training.data.writing.render import Need, render

VERSION = "v1.0-mini"
"""Name of the tables' folder: the devkit's default."""

MARKER = "lidarloop.json"
"""Lies in every folder that lidarloop wrote: such a folder may be overwritten."""


def write_nuscenes(
    sources: SampleSource | Sequence[SampleSource],
    root: Path,
    *,
    keyframe_every: int = 5,
    sweeps_per_keyframe: int | None = None,
    cameras: bool = True,
    num_workers: int = 0,
    overwrite: bool = False,
    on_sample: Callable[[Sample], None] = lambda _: None,
) -> Path:
    """Writes one scene per source.

    Everything is written to a folder beside ``root`` which takes its name at the end. Equal sources give equal bytes.

    Args:
        sources: one source, or several of one scene each. They need ego-motion and annotations. Labels of points
            are written as the lidarseg package has them, where samples have ``point_classes``.
        root: the folder to make; it must not exist.
        keyframe_every: every how many frames of a source a sample with annotations and pictures is made, starting
            with frame 0. The frames between are LiDAR sweeps.
        sweeps_per_keyframe: how many frames right before each keyframe are kept as sweeps; None for all.
            What is not needed is not rendered either.
        cameras: whether the keyframes' pictures are written.
        num_workers: processes that render frames; 0 renders in this one. The bytes do not depend on it.
        overwrite: replace ``root`` if an earlier call of this function made it.
        on_sample: called with each frame when it is written.

    Returns:
        ``root``.

    Raises:
        DatasetError: ``root`` exists (and is not ours, or ``overwrite`` is off), or a source is empty, has no
            ego-motion, no annotations, no intensities, classes outside the nuScenes ten, points of classes that
            nuScenes-lidarseg does not have, or more than one scene.
    """
    root = Path(root)
    check_destination(root, overwrite)
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tables = _vocabulary()
    try:
        for source in sources if isinstance(sources, Sequence) else [sources]:
            needs = plan(len(source), keyframe_every, sweeps_per_keyframe, cameras)
            scene = Scene(tables, partial, VERSION)
            for need, sample in zip(needs, render(source, needs, num_workers), strict=True):
                scene.add(sample, is_keyframe=need.index % keyframe_every == 0)
                on_sample(sample)
            scene.finish()
        if tables.records(LIDARSEG):
            _index_categories(tables)
        tables.write(partial / VERSION)
        write_synced(partial / MARKER, json.dumps({"writer": "lidarloop", "format": "nuscenes v1.0"}).encode())
        _replace(partial, root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def check_destination(root: Path, overwrite: bool) -> None:
    """Raises ``DatasetError`` where ``root`` exists and must not be replaced."""
    if not root.exists():
        return
    if not (root / MARKER).is_file():
        raise DatasetError(f"{root} exists and was not written by lidarloop: choose another destination")
    if not overwrite:
        raise DatasetError(f"{root} exists: choose another destination, or pass --overwrite to replace it")


def plan(num_frames: int, keyframe_every: int, sweeps_per_keyframe: int | None, cameras: bool) -> list[Need]:
    """The frames of a source that are written, in order; images are needed of the keyframes alone.

    Args:
        num_frames: number of frames of the source.
        keyframe_every: number of frames from one keyframe to the next.
        sweeps_per_keyframe: number of frames kept right before each keyframe; None for all.
        cameras: whether images are written.

    Raises:
        DatasetError: a number is out of range, or there is no frame.
    """
    if keyframe_every < 1 or (sweeps_per_keyframe is not None and sweeps_per_keyframe < 0):
        raise DatasetError(
            f"received keyframe_every={keyframe_every} and sweeps_per_keyframe={sweeps_per_keyframe}; "
            "expected at least 1 and at least 0"
        )
    if num_frames == 0:
        raise DatasetError("received a source without a frame; expected at least one")
    needs = []
    for i in range(num_frames):
        next_keyframe = -(-i // keyframe_every) * keyframe_every
        is_wanted = next_keyframe < num_frames and next_keyframe - i <= (sweeps_per_keyframe or 0)
        if sweeps_per_keyframe is None or is_wanted:
            needs.append(Need(i, cameras=cameras and i == next_keyframe))
    return needs


def _replace(new: Path, root: Path) -> None:
    """Gives ``new`` the name ``root``; an older ``root`` goes only when the new one is complete."""
    old = root.with_name(f".{root.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if root.exists():
        root.rename(old)
    new.rename(root)
    shutil.rmtree(old, ignore_errors=True)


def _vocabulary() -> Tables:
    tables = Tables()
    for name in CATEGORY_TO_CLASS:
        tables.add("category", token("category", name), name=name, description="")
    for name, description in ATTRIBUTES.items():
        tables.add("attribute", token("attribute", name), name=name, description=description)
    for level_token, level in VISIBILITY_LEVELS.items():
        tables.add("visibility", level_token, level=level, description=f"visible share {level[1:]} %")
    return tables


def _index_categories(tables: Tables) -> None:
    """All categories of the lidarseg package, with the indices that label files hold."""
    for index, name in enumerate(CATEGORY_TO_LABEL_NAME):
        tables.add("category", token("category", name), name=name, description="")["index"] = index
