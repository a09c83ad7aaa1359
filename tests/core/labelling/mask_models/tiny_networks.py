"""ONNX networks that see colours: the same inputs and outputs as the real families, but answers one can foretell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("red", "green", "blue")


def detector(path: Path, size: int = 32) -> Path:
    """A YOLOX of three classes: a cell of each grid that is all of one colour holds a box of its own size.

    Objectness is the mean brightness of the cell, which is 1 for a cell of pure 255 in one channel and 0 in the others;
    a class's score is the share of its channel. The network is given BGR.
    """
    from onnx import TensorProto, helper

    nodes, constants, levels = [], [], []
    # One channel to five and three: offset 0.5, log size 0, objectness B + G + R, classes R, G, B.
    weight = np.zeros((8, 3, 1, 1), np.float32)
    weight[4] = 1 / 255
    weight[5, 2], weight[6, 1], weight[7, 0] = 1 / 255, 1 / 255, 1 / 255
    bias = np.array([0.5, 0.5, 0, 0, 0, 0, 0, 0], np.float32)
    constants += [
        _constant("weight", weight),
        _constant("bias", bias),
        _constant("flat", np.array([1, 8, -1], np.int64)),
    ]
    for stride in (8, 16, 32):
        pooled, mixed, flat, rows = (f"{name}{stride}" for name in ("pooled", "mixed", "flat", "rows"))
        nodes.append(
            helper.make_node("AveragePool", ["images"], [pooled], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        nodes.append(helper.make_node("Conv", [pooled, "weight", "bias"], [mixed]))
        nodes.append(helper.make_node("Reshape", [mixed, "flat"], [flat]))
        nodes.append(helper.make_node("Transpose", [flat], [rows], perm=[0, 2, 1]))
        levels.append(rows)
    nodes.append(helper.make_node("Concat", levels, ["output"], axis=1))
    num_cells = sum((size // stride) ** 2 for stride in (8, 16, 32))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, num_cells, 8])
    return _saved(path, nodes, [image], [output], constants)


def fastest(path: Path, size: int = 32, grid: int = 4) -> Path:
    """A FastestDet of three classes: each cell is a box of half the picture in its middle, scored by its colour.

    It is given BGR of 0–1; objectness is the sum of the channels.
    """
    from onnx import TensorProto, helper

    weight = np.zeros((8, 3, 1, 1), np.float32)
    weight[0] = 1
    weight[5, 2], weight[6, 1], weight[7, 0] = 1, 1, 1
    bias = np.zeros(8, np.float32)
    bias[1:3] = np.arctanh(0.5)
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["pooled"], kernel_shape=[size // grid] * 2, strides=[size // grid] * 2
        ),
        helper.make_node("Conv", ["pooled", "weight", "bias"], ["output"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 8, grid, grid])
    return _saved(path, nodes, [image], [output], [_constant("weight", weight), _constant("bias", bias)])


def segmenter(path: Path, width: int = 64, height: int = 32) -> Path:
    """A segmenter of three classes and one for everything else: the colour's own class, clearly.

    It is given RGB of 0–1, less ImageNet's mean and over its deviation: undone first.
    """
    from onnx import TensorProto, helper

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    weight = np.zeros((4, 3, 1, 1), np.float32)
    weight[:3, :, 0, 0] = 20 * np.diag(std)
    bias = np.array([*(20 * mean), 10], np.float32)
    nodes = [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, height, width])
    return _saved(path, nodes, [image], [output], [_constant("weight", weight), _constant("bias", bias)])


def _constant(name: str, values: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def _saved(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> Path:
    import onnx
    from onnx import helper

    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
