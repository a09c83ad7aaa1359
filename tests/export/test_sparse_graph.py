"""A sparse encoder as an ONNX graph: plain operators, ONNX Runtime's numbers, NVIDIA's parser and builder."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lidarloop_core.sparse.occupancy import GridShape, Occupancy, Window
from lidarloop_core.sparse.tables import LevelTables, dense_table
from lidarloop_training.models.encoders.voxel import LevelNeighbours, VoxelEncoder, VoxelEncoderConfig
from lidarloop_training.models.sparse.blocks import fold_norms
from lidarloop_training.models.sparse.convolution import gather_rows
from tests.training.models.sparse.scenes import build, neighbours_of, random_features, scene, tables_of

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

SHAPE = GridShape(64, 48, 16)
WINDOWS = (Window(), Window((2, 2, 2), (2, 2, 2), (0, 0, 0)))
NAMES = ("features", "submanifold0", "down1", "submanifold1", "down2", "submanifold2", "fold", "dense")
BUILD = """
import json, sys
import tensorrt_rtx as trt
path, shapes = sys.argv[1], json.loads(sys.argv[2])
builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(definition, trt.Logger(trt.Logger.ERROR))
if not parser.parse(open(path, "rb").read()):
    sys.exit("; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors)))
for target in ("SM86", "SM120"):
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    profile = builder.create_optimization_profile()
    for name, (low, high) in shapes.items():
        profile.set_shape(name, low, high, high)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(definition, config)
    print(len(bytes(engine)) if engine is not None else sys.exit("the builder built no engine"))
"""


class Graph(nn.Module):
    """Voxel features and tables of one cloud → (1, C, rows, columns) BEV map; no scatter."""

    def __init__(self, encoder: VoxelEncoder, rows: int, columns: int) -> None:
        super().__init__()
        self.encoder, self.rows, self.columns = encoder, rows, columns

    def forward(self, features: Tensor, *tables: Tensor) -> Tensor:
        submanifold0, down1, submanifold1, down2, submanifold2, fold, dense = tables
        levels = [
            LevelNeighbours(submanifold0, None),
            LevelNeighbours(submanifold1, down1),
            LevelNeighbours(submanifold2, down2),
            LevelNeighbours(None, fold),
        ]
        cells = gather_rows(self.encoder(features, levels), dense)
        return cells.reshape(1, self.rows, self.columns, -1).permute(0, 3, 1, 2)


def inputs_of(voxels: Occupancy, levels: tuple[LevelTables, ...]) -> tuple[Tensor, ...]:
    first, second, third, last = tables_of(levels)
    dense = torch.from_numpy(dense_table(levels[-1].voxels))
    tables = (first.submanifold, second.down, second.submanifold, third.down, third.submanifold, last.down, dense)
    return (random_features(voxels, 5).float(), *tables)  # type: ignore[return-value]


def exported(graph: Graph, example: tuple[Tensor, ...]) -> Any:
    first, second, third, last = (torch.export.Dim(f"num_voxels{level}", min=1) for level in range(4))
    dynamic = [{0: first}, ({0: first}, {0: second}, {0: second}, {0: third}, {0: third}, {0: last}, None)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            example,
            input_names=list(NAMES),
            dynamic_shapes=dynamic,
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    encoder = VoxelEncoder(5, 4, VoxelEncoderConfig((16, 32, 64), (1, 1, 1), WINDOWS, 64)).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean, 0.2, 0.2)
            nn.init.normal_(module.bias, 0.2, 0.2)
    return Graph(encoder, 12, 16)


@pytest.fixture(scope="module")
def model(graph: Graph) -> Any:
    deployed = copy.deepcopy(graph)
    fold_norms(deployed)
    voxels = scene(SHAPE, 0.05, 0)
    return exported(deployed, inputs_of(voxels, build(voxels, WINDOWS)))


def test_a_layer_is_concat_gather_reshape_and_product(model: Any) -> None:
    operators = {node.op_type for node in model.graph.node}
    assert operators == {"Concat", "Gather", "Reshape", "Gemm", "Relu", "Add", "Transpose"}
    products = [node for node in model.graph.node if node.op_type == "Gemm"]
    assert len(products) == 10  # as many as convolutions
    assert {i.name: i.type.tensor_type.elem_type for i in model.graph.input} == {
        name: onnx.TensorProto.FLOAT if name == "features" else onnx.TensorProto.INT32 for name in NAMES
    }


@pytest.mark.parametrize("density", [0.001, 0.05, 0.3])
def test_onnx_runtime_gives_what_training_gives(graph: Graph, model: Any, density: float) -> None:
    """Any number of voxels; against the rulebooks of training, with norms not folded."""
    voxels = scene(SHAPE, density, 1)
    levels = build(voxels, WINDOWS)
    example = inputs_of(voxels, levels)
    found = run(model, example)
    with torch.no_grad():
        cells = graph.encoder(example[0], neighbours_of([levels]))
    column, row, _ = levels[-1].voxels.coordinates().T
    expected = np.zeros((12, 16, 64), np.float32)
    expected[row, column] = cells.numpy()
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), expected, atol=1e-4, rtol=0)
    assert np.abs(found[0].transpose(1, 2, 0) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_padding_to_a_bucket_changes_nothing_on_the_map(model: Any) -> None:
    """Zeros behind features and tables, though rows of padding come out of a layer as the bias, not as zeros."""
    voxels = scene(SHAPE, 0.05, 2)
    *example, dense = inputs_of(voxels, build(voxels, WINDOWS))
    padded = [torch.cat([tensor, tensor.new_zeros(64 - len(tensor) % 64, tensor.shape[1])]) for tensor in example]
    rows = {name: len(tensor) for name, tensor in zip(NAMES, padded, strict=False)}
    assert rows["features"] == rows["submanifold0"]
    assert rows["down2"] == rows["submanifold2"]
    plain, filled = run(model, (*example, dense)), run(model, (*padded, dense))
    np.testing.assert_allclose(filled, plain, atol=1e-6, rtol=0)  # a longer product may be blocked differently
    assert (filled == 0).sum() == (plain == 0).sum()


def run(model: Any, inputs: tuple[Tensor, ...]) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in zip(NAMES, inputs, strict=True)})
    return np.asarray(found)


def test_nvidia_parses_and_builds_it(model: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    path = tmp_path / "encoder.onnx"
    path.write_bytes(model.SerializeToString())
    most = {
        "features": 5,
        "submanifold0": 27,
        "down1": 27,
        "submanifold1": 27,
        "down2": 8,
        "submanifold2": 27,
        "fold": 4,
    }
    shapes = {name: ((1, columns), (20_000, columns)) for name, columns in most.items()}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(path), json.dumps(shapes)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2
