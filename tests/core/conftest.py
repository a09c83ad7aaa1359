"""Fixtures of the core's tests: a small spec, and ONNX graphs made for it without torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec
from tests.builders import make_spec

NetworkBytes = Callable[..., bytes]


@pytest.fixture
def spec() -> ModelSpec:
    return make_spec()


@pytest.fixture
def network() -> NetworkBytes:
    """Makes ONNX bytes with the contract's tensors: every box is a given row, moved to the mean of all points."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto

    def make(
        rows: np.ndarray,
        scores: np.ndarray,
        labels: np.ndarray,
        *,
        num_columns: int = 5,
        num_boxes: int | None = None,
        output_names: tuple[str, ...] = ("boxes", "scores", "labels"),
    ) -> bytes:
        k = len(rows) if num_boxes is None else num_boxes
        constants = {
            "rows": np.asarray(rows, np.float32),
            "all_scores": np.asarray(scores, np.float32),
            "all_labels": np.asarray(labels, np.int64),
            "zero": np.zeros(1, np.int64),
            "three": np.full(1, 3, np.int64),
            "last": np.ones(1, np.int64),
            "six": np.zeros((1, 6), np.float32),
        }
        nodes = [
            helper.make_node("ReduceMean", ["points"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Slice", ["mean", "zero", "three", "last"], ["center"]),
            helper.make_node("Concat", ["center", "six"], ["shift"], axis=1),
            helper.make_node("Add", ["rows", "shift"], [output_names[0]]),
            helper.make_node("Identity", ["all_scores"], [output_names[1]]),
            helper.make_node("Identity", ["all_labels"], [output_names[2]]),
        ]
        inputs = [
            helper.make_tensor_value_info("points", TensorProto.FLOAT, ["N", num_columns]),
            helper.make_tensor_value_info("slot", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("cell", TensorProto.INT64, ["P"]),
            helper.make_tensor_value_info("count", TensorProto.INT64, ["P"]),
        ]
        outputs = [
            helper.make_tensor_value_info(output_names[0], TensorProto.FLOAT, [k, 9]),
            helper.make_tensor_value_info(output_names[1], TensorProto.FLOAT, [k]),
            helper.make_tensor_value_info(output_names[2], TensorProto.INT64, [k]),
        ]
        graph = helper.make_graph(
            nodes, "test", inputs, outputs, [numpy_helper.from_array(v, n) for n, v in constants.items()]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        data: bytes = model.SerializeToString()
        return data

    return make


@pytest.fixture
def six_boxes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, scores and labels for ``network``: two cars and a pedestrian on one spot, a far car, two weak ones."""
    rows = np.zeros((6, 9), np.float32)
    rows[:, 3:6] = (4.0, 2.0, 1.5)
    rows[1, 0] = 0.2  # overlaps box 0 by 90 %
    rows[3, 0] = 20.0
    rows[4, 0] = 40.0
    rows[5, 0] = 60.0
    scores = np.array([0.6, 0.9, 0.5, 0.7, 0.05, 0.01])
    labels = np.array([0, 0, 5, 0, 1, 1])
    return rows, scores, labels
