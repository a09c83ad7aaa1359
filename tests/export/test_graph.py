from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from lidarloop_core.model.tensors import names  # noqa: E402
from lidarloop_export.graph import FORBIDDEN, OPSET, with_raw_maps, without_raw_maps  # noqa: E402

if TYPE_CHECKING:
    import onnx
    from onnx import ModelProto

    from lidarloop_training.tasks.detection.export_view import DetectionView


@pytest.fixture(scope="module")
def model(graph: bytes, spec: ModelSpec) -> ModelProto:
    return onnx.load_from_string(without_raw_maps(graph, spec))


def shape(value: Any) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_tensors_are_the_contracts(model: ModelProto, graph: bytes, spec: ModelSpec) -> None:
    outputs = ["boxes", "scores", "labels"]
    assert [v.name for v in model.graph.input] == ["points", "slot", "cell", "count"] == list(names(spec.inputs))
    assert [v.name for v in model.graph.output] == outputs == list(names(spec.output_tensors))
    assert [v.name for v in onnx.load_from_string(graph).graph.output] == [*outputs, "heatmap", "regression"]
    num_points, columns = shape(model.graph.input[0])
    assert columns == 5
    assert shape(model.graph.input[1]) == [num_points]
    assert isinstance(num_points, str)
    assert shape(model.graph.input[2]) == shape(model.graph.input[3]) != [num_points]
    assert [shape(v) for v in model.graph.output] == [[30, 9], [30], [30]]
    kinds = [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)]
    float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    assert kinds == [float32, int64, int64, int64, float32, float32, int64]


def test_operators_are_those_that_engines_take(model: ModelProto) -> None:
    assert not {node.op_type for node in model.graph.node} & set(FORBIDDEN)
    assert all(node.domain == "" for node in model.graph.node)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    for node in model.graph.node:
        assert not [a for a in node.attribute if a.name == "reduction" and a.s != b"none"]
        if node.op_type == "ReduceMax":
            assert len(node.input) == 1  # the axes are an attribute, which TensorRT 8.6 reads
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "TopK" and node.input[1] in constants:
            assert constants[node.input[1]] <= 3840


def test_no_constant_is_large(model: ModelProto, detector: DetectionView) -> None:
    """Nothing but weights: no folded canvas, no table of cells."""
    weights = sum(parameter.numel() for parameter in detector.parameters())
    stored = sum(int(np.prod(i.dims)) for i in model.graph.initializer)
    assert stored <= weights + 200
    assert not [
        n for n in model.graph.node if n.op_type == "Constant" and any(a.t.ByteSize() > 1000 for a in n.attribute)
    ]


def test_no_trace_of_the_machine(graph: bytes) -> None:
    assert b"/work" not in graph
    assert b"site-packages" not in graph
    assert b".py" not in graph


def test_the_same_weights_give_the_same_bytes(detector: DetectionView, graph: bytes) -> None:
    assert with_raw_maps(detector) == graph
