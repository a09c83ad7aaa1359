"""Clouds with more voxels than a level of a shipped model takes: thinned, counted, and answered all the same.

Each level in turn gets a tenth of the voxels that a toy-town cloud has there. That the node warns is a test over DDS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from benchmarks.checks import Context, Row, at_least, report_only
from benchmarks.sparse.shipped import POINTS, VOXELS, missing
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detections
from lidarloop_core.inference.model_on import model_on
from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.model_file import read_model, write_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid
from lidarloop_core.pointcloud.sweeps import merge_sweeps
from lidarloop_core.sparse.cloud import VoxelCloud
from lidarloop_training.toytown.drive import ToyTownDrive

SEED, FRAME = 8101, 20
SHARE_LEFT = 0.1


def check_overflow(context: Context) -> Iterator[Row]:
    """Rows of the detector and the segmenter, level by level."""
    for model in (VOXELS, POINTS):
        if model.is_file():
            yield from rows(model, context.scratch)
        else:
            yield missing(f"{model.stem}: overflow at each level", "answered", model)


def rows(model: Path, folder: Path) -> Iterator[Row]:
    """What a model answers with a tenth of the room, one level after another.

    Raises:
        RuntimeError: what was thinned was not reported.
    """
    file = read_model(model)
    cloud = toytown_cloud(file.spec)
    grouped = group_cloud(cloud, file.spec)
    assert isinstance(grouped, VoxelCloud)
    most = num_answered(model_on(open_backend(model)).answer(cloud))
    for level, tables in enumerate(grouped.levels):
        room = max(1, round(SHARE_LEFT * tables.voxels.num_found))
        small = folder / f"{model.stem}-{level}.onnx"
        write_model(small, without_seal(file.onnx_bytes), with_room(file.spec, level, room))
        found = model_on(open_backend(small)).answer(cloud)
        said = f"{tables.voxels.num_found} voxels at level {level}, the model takes {room}"
        if said not in found.overfull:
            raise RuntimeError(f"received {found.overfull} of {small.name}; expected '{said}' among it")
        what = f"{file.spec.name}, a tenth of the voxels at level {level}"
        yield at_least(f"{what}: boxes or labels, of {most}", num_answered(found), 1)
        yield report_only("  points thinned out, counted", found.num_thinned)


def toytown_cloud(spec: ModelSpec) -> npt.NDArray[np.float32]:
    """(N, C) float32 in the model's columns."""
    drive = ToyTownDrive(SEED, duration_s=3.0, num_sweeps=spec.num_sweeps, cameras=False)
    return merge_sweeps(drive[FRAME].sweeps, spec.point_columns)


def with_room(spec: ModelSpec, level: int, capacity: int) -> ModelSpec:
    """The contract with another capacity of one level."""
    assert isinstance(spec.grid, VoxelGrid)
    if level == 0:
        return replace(spec, grid=replace(spec.grid, capacity=capacity))
    levels = list(spec.grid.levels)
    levels[level - 1] = replace(levels[level - 1], capacity=capacity)
    return replace(spec, grid=replace(spec.grid, levels=tuple(levels)))


def without_seal(onnx_bytes: bytes) -> bytes:
    """The network of a model file."""
    network = onnx.load_from_string(onnx_bytes)
    del network.metadata_props[:]
    return bytes(network.SerializeToString())


def num_answered(found: Detections | PointLabels) -> int:
    """Boxes, or points with a label."""
    return len(found.boxes) if isinstance(found, Detections) else int(np.count_nonzero(found.labels != NO_LABEL))
