from __future__ import annotations

import pytest

from lidarloop_core.model.spec import ModelSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from lidarloop_core.inference.tensorrt.builder import EngineError  # noqa: E402
from lidarloop_core.model.model_file import seal  # noqa: E402
from lidarloop_core.model.tensors import profile_shapes  # noqa: E402
from lidarloop_export.graph import without_raw_maps  # noqa: E402
from lidarloop_export.rtx_check import check_nvidia_builds, is_installed  # noqa: E402
from tests.builders import make_spec  # noqa: E402

needs_rtx = pytest.mark.skipif(not is_installed(), reason="tensorrt-rtx is not installed: pip install lidarloop[rtx]")


@needs_rtx
def test_nvidia_parses_and_builds_the_exported_model(graph: bytes, spec: ModelSpec) -> None:
    line = check_nvidia_builds(seal(without_raw_maps(graph, spec), spec), spec)
    assert line.startswith("TensorRT-RTX")
    assert "built it for SM86" in line
    assert "SM120" in line


@needs_rtx
def test_a_model_that_nvidia_refuses_is_refused(graph: bytes, spec: ModelSpec) -> None:
    """A scatter with a reduction: what the whole form of the network is there to avoid."""
    model = onnx.load_from_string(without_raw_maps(graph, spec))
    scatter = next(node for node in model.graph.node if node.op_type == "ScatterND")
    scatter.attribute.append(onnx.helper.make_attribute("reduction", "add"))
    with pytest.raises(EngineError, match="NVIDIA's parser or builder refused"):
        check_nvidia_builds(seal(model.SerializeToString(), spec), spec)


def test_profile_reaches_from_one_point_to_capacity(spec: ModelSpec) -> None:
    shapes = profile_shapes(spec.inputs)
    assert shapes["points"][0] == (1, 5)
    assert shapes["points"][2] == (200 * 6, 5)
    assert shapes["cell"][2] == (200,)
    assert all(low <= usual <= high for low, usual, high in shapes.values())
    small = profile_shapes(make_spec(spec, max_pillars=10**6).inputs)
    assert small["cell"][2] == (32 * 24,)
