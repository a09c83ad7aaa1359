"""Builders of what many tests need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.model.outputs import Detection, Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Dimension, TensorSpec
from lidarloop_core.pointcloud.grid import PillarGrid, VoxelGrid, VoxelLevel

_SMALL = ModelSpec(
    name="pillar-test",
    class_names=NUSCENES_CLASSES,
    point_columns=("x", "y", "z", "intensity", "dt"),
    intensity_scale=1 / 255,
    grid=PillarGrid(
        x_range_m=(-8.0, 8.0),
        y_range_m=(-4.0, 4.0),
        z_range_m=(-5.0, 3.0),
        cell_size_m=(0.5, 0.5),
        max_points_per_pillar=5,
        max_pillars=64,
    ),
    outputs=Detection(max_detections=6),
    num_sweeps=3,
    sweep_interval_s=0.1,
    lidar_height_m=1.84,
)


VOXEL_DETECTOR = dataclasses.replace(
    _SMALL,
    name="voxel-test",
    grid=VoxelGrid(
        x_range_m=(-9.6, 9.6),
        y_range_m=(-6.4, 6.4),
        z_range_m=(-5.0, 3.0),
        cell_size_m=(0.4, 0.4, 0.5),
        capacity=1500,
        levels=(
            VoxelLevel(capacity=1000),
            VoxelLevel(capacity=600, kernel=(2, 2, 2), padding=(0, 0, 0)),
            VoxelLevel(capacity=200, stride=(1, 1, 1), kernel=(1, 1, 4), padding=(0, 0, 0)),
        ),
    ),
    outputs=Detection(max_detections=30),
)
"""A detector on voxels: 48 × 32 × 16, two strided levels of which one has windows that overlap, a map of 12 × 8."""

VOXEL_SEGMENTER = dataclasses.replace(
    VOXEL_DETECTOR,
    name="segmenter-test",
    grid=dataclasses.replace(VOXEL_DETECTOR.grid, levels=VOXEL_DETECTOR.grid.levels[:2]),
    outputs=Segmentation(),
)
"""A segmenter on the same voxels: two strided levels of which one has windows that overlap."""


def make_spec(like: ModelSpec = _SMALL, **changes: Any) -> ModelSpec:
    """A contract like another, by default a small pillar detector's, with other values.

    Args:
        like: what is not given is taken from it.
        changes: fields of the contract, of its grid or of its outputs, e.g. ``max_pillars=300``.
    """
    values: dict[str, Any] = {}
    for part in ("grid", "outputs"):
        whole = changes.pop(part, getattr(like, part))
        names = [field.name for field in dataclasses.fields(whole) if field.init]
        values[part] = dataclasses.replace(whole, **{name: changes.pop(name) for name in names if name in changes})
    return dataclasses.replace(like, **values, **changes)


def value_infos(tensors: Iterable[TensorSpec]) -> list[Any]:
    """How an ONNX graph declares these inputs or outputs."""
    from onnx import helper

    return [
        helper.make_tensor_value_info(
            tensor.name,
            helper.np_dtype_to_tensor_dtype(tensor.dtype),
            [axis.name if isinstance(axis, Dimension) else axis for axis in tensor.shape],
        )
        for tensor in tensors
    ]


def by_intensity_onnx(spec: ModelSpec, *, full_scale: float = 255.0) -> bytes:
    """A segmenter with a closed form: label = ⌊intensity / 100⌋, score = intensity / full_scale."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    constants = {
        "start": np.array([3], np.int64),
        "end": np.array([4], np.int64),
        "columns": np.array([1], np.int64),
        "full_scale": np.array(full_scale, np.float32),
        "hundred": np.array(100.0, np.float32),
    }
    nodes = [
        node("Slice", ["points", "start", "end", "columns"], ["column"]),
        node("Squeeze", ["column", "columns"], ["intensity"]),
        node("Div", ["intensity", "full_scale"], ["scores"]),
        node("Div", ["intensity", "hundred"], ["quotient"]),
        node("Cast", ["quotient"], ["labels"], to=TensorProto.INT64),
    ]

    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, spec.name, value_infos(spec.inputs), value_infos(spec.output_tensors), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
