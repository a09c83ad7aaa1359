"""A network for a pillar detector's contract, without torch."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from lidarloop_core.model.spec import ModelSpec


def mean_network(spec: ModelSpec) -> bytes:
    """ONNX bytes: every box stands where the mean of all points is, and its score grows with their mean intensity."""
    num_boxes, num_columns = spec.detection.max_detections, len(spec.point_columns)
    constants = {
        "rows": np.tile(np.array([0, 0, 0, 4, 2, 1.5, 0.3, 1, 0], np.float32), (num_boxes, 1)),
        "labels": np.zeros(num_boxes, np.int64),
        "base": np.linspace(0.9, 0.2, num_boxes, dtype=np.float32),
        "zero": np.zeros(1, np.int64), "three": np.full(1, 3, np.int64), "four": np.full(1, 4, np.int64),
        "one": np.ones(1, np.int64), "six": np.zeros((1, 6), np.float32), "small": np.array([1e-3], np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["points"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Slice", ["mean", "zero", "three", "one"], ["center"]),
        helper.make_node("Concat", ["center", "six"], ["shift"], axis=1),
        helper.make_node("Add", ["rows", "shift"], ["boxes"]),
        helper.make_node("Slice", ["mean", "three", "four", "one"], ["intensity"]),
        helper.make_node("Mul", ["intensity", "small"], ["share"]),
        helper.make_node("Add", ["base", "share"], ["sum"]),
        helper.make_node("Squeeze", ["sum", "zero"], ["scores"]),
        helper.make_node("Identity", ["labels"], ["out_labels"]),
    ]
    nodes[-1].output[0] = "labels"
    nodes[-1].input[0] = "all_labels"
    constants["all_labels"] = constants.pop("labels")
    inputs = [
        helper.make_tensor_value_info("points", TensorProto.FLOAT, ["N", num_columns]),
        helper.make_tensor_value_info("slot", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("cell", TensorProto.INT64, ["P"]),
        helper.make_tensor_value_info("count", TensorProto.INT64, ["P"]),
    ]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [num_boxes, 9]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [num_boxes]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, [num_boxes]),
    ]
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "mean", inputs, outputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
