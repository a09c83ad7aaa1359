"""ONNX graphs on voxels, of random weights, made without torch: every table decides the boxes, or the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import TensorSpec
from lidarloop_core.pointcloud.grid import VoxelGrid
from tests.builders import VOXEL_DETECTOR, make_spec, value_infos

CHANNELS = 8

STREET = make_spec(VOXEL_DETECTOR, x_range_m=(-51.2, 51.2), y_range_m=(-51.2, 51.2), cell_size_m=(1.6, 1.6, 0.5))
"""A detector on 64 × 64 × 16 large voxels, with room for each level of a cloud of a few thousand points."""

STREET_POINTS = make_spec(STREET, name="segmenter-street", outputs=Segmentation())
"""A segmenter on the same voxels."""


class Graph:
    """Nodes and constants; each method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._random = np.random.default_rng(0)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"value_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self._random.normal(0, shape[0] ** -0.5, shape).astype(np.float32))

    def gather(self, features: str, num_features: int, table: TensorSpec | str) -> str:
        """Rows by a table, those of a place side by side: (V, C), (V', K) → (V', K · C)."""
        name, places = (table, 1) if isinstance(table, str) else (table.name, int(table.shape[1]))  # type: ignore[arg-type]
        zeros = self.constant(np.zeros((1, num_features), np.float32))
        rows = self.node("Gather", self.node("Concat", zeros, features, axis=0), name, axis=0)
        return self.node("Reshape", rows, self.constant(np.array([-1, places * num_features], np.int64)))

    def convolution(self, features: str, num_features: int, table: TensorSpec) -> str:
        gathered = self.gather(features, num_features, table)
        product = self.node("MatMul", gathered, self.weight(int(table.shape[1]) * num_features, CHANNELS))  # type: ignore[arg-type]
        return self.node("Tanh", product)


def voxel_network(spec: ModelSpec) -> bytes:
    """ONNX bytes of a detector or a segmenter."""
    return segmenter_network(spec) if isinstance(spec.outputs, Segmentation) else detector_network(spec)


def detector_network(spec: ModelSpec) -> bytes:
    """ONNX bytes: tanh convolutions over all levels, scores by the map's features, each box 4 × 2 × 2 m in its cell."""
    graph = Graph()
    map_features = graph.gather(_by_level(graph, spec)[-1], CHANNELS, "cells")
    scores = graph.node("Tanh", graph.node("Abs", graph.node("MatMul", map_features, graph.weight(CHANNELS, 1))))
    flat = graph.node("Reshape", scores, graph.constant(np.array([-1], np.int64)))
    best, cell = "scores", "cell"
    number = graph.constant(np.array([spec.detection.max_detections], np.int64))
    graph.nodes.append(onnx.helper.make_node("TopK", [flat, number], [best, cell], axis=0))
    centres = graph.node("Gather", graph.constant(_centres(spec)), cell, axis=0)
    moved = graph.node("MatMul", graph.node("Gather", map_features, cell, axis=0), graph.weight(CHANNELS, 9))
    graph.nodes.append(onnx.helper.make_node("Add", [centres, graph.node("Tanh", moved)], ["boxes"]))
    classes = graph.constant(np.array(len(spec.class_names), np.int64))
    graph.nodes.append(onnx.helper.make_node("Mod", [cell, classes], ["labels"]))
    return _model(graph, spec)


def segmenter_network(spec: ModelSpec) -> bytes:
    """ONNX bytes: tanh convolutions down all levels and up again, then a layer on each point's voxel and columns."""
    graph, tensors = Graph(), {tensor.name: tensor for tensor in spec.inputs}
    *finer, features = _by_level(graph, spec)
    for level in range(len(finer), 0, -1):
        restored = graph.convolution(features, CHANNELS, tensors[f"inverse_{level}"])
        features = graph.node("Add", restored, finer[level - 1])
    of_voxel = graph.gather(features, CHANNELS, "voxel_of_point")
    of_point = _scaled(graph, "points", spec)
    num_classes, num_columns = len(spec.class_names), len(spec.point_columns)
    logits = graph.node(
        "Add",
        graph.node("MatMul", of_voxel, graph.weight(CHANNELS, num_classes)),
        graph.node("MatMul", of_point, graph.weight(num_columns, num_classes)),
    )
    make_node, best = onnx.helper.make_node, graph.node("Sigmoid", logits)
    graph.nodes.append(make_node("ReduceMax", [best], ["scores"], axes=[1], keepdims=0))
    graph.nodes.append(make_node("ArgMax", [logits], ["labels"], axis=1, keepdims=0))
    return _model(graph, spec)


def _by_level(graph: Graph, spec: ModelSpec) -> list[str]:
    """Features of each level's voxels, finest first."""
    assert isinstance(spec.grid, VoxelGrid)
    tensors = {tensor.name: tensor for tensor in spec.inputs}
    features = graph.convolution(_scaled(graph, "voxels", spec), len(spec.point_columns), tensors["neighbours_0"])
    found = [features]
    for level in range(1, len(spec.grid.level_shapes)):
        features = graph.convolution(features, CHANNELS, tensors[f"strided_{level}"])
        if (within := tensors.get(f"neighbours_{level}")) is not None:
            features = graph.node("Add", features, graph.convolution(features, CHANNELS, within))
        found.append(features)
    return found


def _scaled(graph: Graph, columns: str, spec: ModelSpec) -> str:
    return graph.node("Mul", columns, graph.constant(np.full(len(spec.point_columns), 0.02, np.float32)))


def _model(graph: Graph, spec: ModelSpec) -> bytes:
    inputs, outputs = value_infos(spec.inputs), value_infos(spec.output_tensors)
    made = onnx.helper.make_graph(graph.nodes, "voxels", inputs, outputs, graph.constants)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _centres(spec: ModelSpec) -> np.ndarray:
    """(cells, 9) float32: a box of 4 × 2 × 2 m in the middle of each cell of the map."""
    assert isinstance(spec.grid, VoxelGrid)
    columns, rows, _ = spec.grid.level_shapes[-1]
    (low_x, high_x), (low_y, high_y), _ = spec.grid.ranges_m
    boxes = np.zeros((rows, columns, 9), np.float32)
    boxes[..., 0] = low_x + (np.arange(columns) + 0.5) * (high_x - low_x) / columns
    boxes[..., 1] = (low_y + (np.arange(rows) + 0.5) * (high_y - low_y) / rows)[:, None]
    boxes[..., 3:6] = (4, 2, 2)
    return boxes.reshape(-1, 9)
