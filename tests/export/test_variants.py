"""Precisions and optimisation: the same boxes from less work, in graphs that NVIDIA's parser takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")
pytest.importorskip("onnxslim")
ort = pytest.importorskip("onnxruntime")

from lidarloop_core.bench.roofline import network_cost  # noqa: E402
from lidarloop_core.errors import ConfigError, ModelFileError  # noqa: E402
from lidarloop_core.inference.backend import open_backend  # noqa: E402
from lidarloop_core.model.model_file import read_model, seal, write_model  # noqa: E402
from lidarloop_export import variants  # noqa: E402
from lidarloop_export.clouds import graph_inputs, random_cloud  # noqa: E402
from lidarloop_export.drive import Cloud  # noqa: E402
from lidarloop_export.edit import Editor  # noqa: E402
from lidarloop_export.graph import without_raw_maps  # noqa: E402
from lidarloop_export.optimise import deconvolutions_as_convolutions, optimised  # noqa: E402
from lidarloop_export.precision_fp16 import ALLOWED, in_float16  # noqa: E402
from lidarloop_export.quantise import RAW_NAMES, quantised  # noqa: E402
from lidarloop_export.rtx_check import check_nvidia_builds, is_installed  # noqa: E402
from lidarloop_export.variants import optimise, variant  # noqa: E402

needs_rtx = pytest.mark.skipif(not is_installed(), reason="tensorrt-rtx is not installed: pip install lidarloop[rtx]")


@pytest.fixture(scope="module")
def network(graph: bytes, spec: ModelSpec) -> bytes:
    return without_raw_maps(graph, spec)


@pytest.fixture(scope="module")
def clouds(spec: ModelSpec) -> list[Any]:
    return [graph_inputs(random_cloud(spec, number, seed), spec) for seed, number in enumerate((1, 300, 4000))]


def run(
    network: bytes, inputs: dict[str, Any], names: Sequence[str] = ("boxes", "scores", "labels")
) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(network, options, providers=["CPUExecutionProvider"]).run(list(names), inputs)


def raw_maps(network: bytes, inputs: dict[str, Any]) -> list[np.ndarray]:
    editor = Editor(network)
    editor.expose(RAW_NAMES)
    return run(editor.finish(), inputs, RAW_NAMES)


def kinds(network: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(network).graph.node}


def test_optimised_says_the_same(network: bytes, clouds: list[Any]) -> None:
    tidy = optimised(network)
    assert len(onnx.load_from_string(tidy).graph.node) < len(onnx.load_from_string(network).graph.node)
    assert not kinds(tidy) & {"And", "Mod"} or "Mod" in kinds(tidy)  # floor division's correction is gone
    assert "And" not in kinds(tidy)
    for inputs in clouds:
        for found, expected in zip(raw_maps(tidy, inputs), raw_maps(network, inputs), strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-5)


def test_optimising_twice_changes_nothing_more(network: bytes, clouds: list[Any]) -> None:
    once = optimised(network)
    assert len(onnx.load_from_string(optimised(once)).graph.node) == len(onnx.load_from_string(once).graph.node)


def test_no_canvas_is_folded_into_a_constant(repository: Path) -> None:
    file = read_model(repository / "models/pillar-toytown.onnx")
    assert len(optimised(file.onnx_bytes)) < len(file.onnx_bytes)


def test_the_columns_scale_is_in_the_weights(network: bytes) -> None:
    """One multiplication of (N, C) points less, and intensity 255 times what the weights were made for."""
    before, after = ([n for n in Editor(b).nodes("Mul") if "points" in n.input] for b in (network, optimised(network)))
    assert (len(before), len(after)) == (1, 0)


def test_deconvolutions_become_convolutions(network: bytes, clouds: list[Any]) -> None:
    editor = Editor(optimised(network))
    deconvolutions_as_convolutions(editor)
    rewritten = editor.finish()
    assert "ConvTranspose" in kinds(network)
    assert "ConvTranspose" not in kinds(rewritten)
    for found, expected in zip(raw_maps(rewritten, clouds[2]), raw_maps(network, clouds[2]), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-5)


def test_float16_keeps_coordinates_in_float32(network: bytes, clouds: list[Any]) -> None:
    half = in_float16(optimised(network))
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(half), strict_mode=True, check_type=True)
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.output)}
    float16, float32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for node in model.graph.node:
        kind = types.get(node.output[0])
        if node.op_type in ("Conv", "ConvTranspose", "ReduceMax"):
            assert kind == float16, node.name
        if kind == float16:
            assert node.op_type in (*ALLOWED, "Cast")
        if node.op_type in ("Gemm", "Div", "Sub", "Mul", "Exp", "Atan", "ReduceSum", "TopK"):
            assert kind != float16, node.name
    assert [types[name] for name in ("boxes", "scores")] == [float32, float32]
    assert len(half) < 0.7 * len(network) + 8000
    for inputs in clouds:
        for found, expected in zip(raw_maps(half, inputs), raw_maps(network, inputs), strict=True):
            assert np.abs(found - expected).max() < 0.01 * max(1, np.abs(expected).max())
            assert found.dtype == np.float32


def test_far_points_lose_nothing_by_float16(network: bytes, spec: ModelSpec) -> None:
    """A pillar's points at the edge of the range: offsets of millimetres, which float16 could not tell at 12 m."""
    near = np.zeros((4, 5), np.float32)
    near[:, 0] = [11.3, 11.301, 11.302, 11.303]
    inputs = graph_inputs(near, spec)
    plain = optimised(network)
    half = in_float16(plain)
    feature = Editor(plain).nodes("Relu")[0].output[0]

    def features(graph: bytes) -> np.ndarray:
        editor = Editor(graph)
        editor.expose([feature])
        return run(editor.finish(), inputs, [feature])[0]

    np.testing.assert_array_equal(features(half), features(plain))


def test_a_weight_beyond_float16_is_refused(network: bytes) -> None:
    editor = Editor(optimised(network))
    name = next(n for n in editor.nodes("Conv")).input[1]
    weight = editor.constant(name)
    assert weight is not None
    editor.add_constant(name, weight * np.float32(1e9))
    with pytest.raises(ModelFileError, match=r"reaches .* expected at most 65504"):
        in_float16(editor.finish())


def test_an_operator_that_is_not_allowed_is_refused(network: bytes) -> None:
    editor = Editor(optimised(network))
    relu = editor.nodes("Relu")[2]
    relu.op_type = "Exp"
    with pytest.raises(ModelFileError, match="has Exp; expected only"):
        in_float16(editor.finish())


def test_a_network_without_features_or_maps_is_refused(network: bytes, spec: ModelSpec) -> None:
    editor = Editor(optimised(network))
    for relu in editor.nodes("Relu"):
        relu.op_type = "Abs"
    with pytest.raises(ModelFileError, match=r"0 ReLU and 2 of .*heatmap"):
        in_float16(editor.finish())
    editor = Editor(optimised(network))
    for number, name in enumerate(RAW_NAMES):
        made_by = editor.producer(name)
        assert made_by is not None
        made_by.output[:] = [f"map {number}" if tensor == name else tensor for tensor in made_by.output]
        editor.reroute(name, f"map {number}")
    with pytest.raises(ModelFileError, match=r"0 of the tensors heatmap"):
        in_float16(without_raw_maps(editor.model.SerializeToString(), spec))


@pytest.mark.parametrize("form", ["cpu", "gpu"])
def test_int8_stays_near(network: bytes, clouds: list[Any], form: str) -> None:
    result = quantised(optimised(network), clouds, form, budget=0.3)
    assert list(result.errors.values()) == sorted(result.errors.values())
    assert len(result.errors) - len(result.in_float) > 0
    for found, expected in zip(raw_maps(result.network, clouds[2]), raw_maps(network, clouds[2]), strict=True):
        assert np.abs(found - expected).mean() < 0.3 * expected.std()


def test_the_gpus_int8_has_no_zero_points_and_float_biases(network: bytes, clouds: list[Any]) -> None:
    editor = Editor(quantised(optimised(network), clouds, "gpu", budget=9).network)
    for node in editor.nodes("QuantizeLinear", "DequantizeLinear"):
        zero = editor.constant(node.input[2])
        assert zero.dtype == np.int8
        assert not zero.any()
    for node in editor.nodes("Conv"):
        assert editor.constant(node.input[2]) is not None  # the bias, as it was


def test_the_cpus_int8_runs_in_integer_kernels(network: bytes, clouds: list[Any], tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    result = quantised(optimised(network), clouds, "cpu", budget=9)
    ort.InferenceSession(result.network, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    integer = [n for n in nodes if n.op_type == "QLinearConv"]
    in_float = [n for n in nodes if n.op_type in ("Conv", "FusedConv", "ConvTranspose")]
    assert result.in_float == ()
    assert len(integer) == len(result.errors) - 1  # all but the points' features
    assert len(in_float) == 12  # six heatmaps and six regressions


def test_a_budget_of_nothing_leaves_all_in_float(network: bytes, clouds: list[Any]) -> None:
    result = quantised(optimised(network), clouds[:1], "gpu", budget=0.0)
    assert set(result.in_float) == set(result.errors)
    assert "QuantizeLinear" not in kinds(result.network)


def test_layers_are_judged_one_by_one(network: bytes, clouds: list[Any]) -> None:
    """A layer made to lose everything by int8, one weight a thousand times the rest, is the one kept in float."""
    editor = Editor(optimised(network))
    name = editor.nodes("Conv")[1].input[1]
    weight = editor.constant(name)
    weight[:, 0, 0, 0] = 1000 * np.abs(weight).max()
    editor.add_constant(name, weight)
    result = quantised(editor.finish(), clouds, "gpu", budget=0.04)
    assert list(result.errors)[-1] == name
    assert name in result.in_float


def test_without_clouds_there_is_no_int8(network: bytes) -> None:
    with pytest.raises(ConfigError, match="received no cloud"):
        quantised(network, [], "cpu")


@pytest.fixture
def model(tmp_path: Path, network: bytes, spec: ModelSpec) -> Path:
    write_model(tmp_path / "model.onnx", network, spec)
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_command_writes_a_model_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    out = tmp_path / "out.onnx"
    optimise(model, out, precision=precision)
    file = read_model(out)
    assert file.precision == precision
    assert file.spec == read_model(model).spec
    assert f"sha256 {file.sha256}" in capsys.readouterr().out
    assert open_backend(out).spec == file.spec


def test_the_command_calibrates_int8_on_a_drive(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, spec: ModelSpec
) -> None:
    drive = [Cloud(random_cloud(spec, 900, 0), None)]
    monkeypatch.setattr(variants, "read_drive", lambda drive_, spec_, number: drive[:number])
    with pytest.raises(ConfigError, match="no drive to calibrate on"):
        optimise(model, tmp_path / "out.onnx", precision="int8")
    optimise(model, tmp_path / "out.onnx", precision="int8", target="cpu", calibrate=("toytown", "3300"), frames=1)
    assert read_model(tmp_path / "out.onnx").precision == "int8"
    assert "error alone" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="received a model in int8; expected one in fp32"):
        optimise(tmp_path / "out.onnx", tmp_path / "again.onnx")


@needs_rtx
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_nvidia_builds_each_precision_for_two_targets(model: Path, clouds: list[Any], precision: str) -> None:
    file = read_model(model)
    network, _ = variant(file, precision, "gpu", clouds)
    line = check_nvidia_builds(seal(network, file.spec), file.spec)
    assert "SM86" in line
    assert "SM120" in line


def test_half_precision_does_the_same_work_with_half_the_bytes(network: bytes, spec: ModelSpec) -> None:
    shapes = {t.name: t.shape_at({"num_points": 1000, "num_pillars": 100}) for t in spec.inputs}
    full, half = (network_cost(graph, shapes) for graph in (optimised(network), in_float16(optimised(network))))
    assert half.flops == full.flops
    assert half.num_bytes == pytest.approx(full.num_bytes / 2, rel=0.2)
