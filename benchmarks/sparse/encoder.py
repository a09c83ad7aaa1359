"""The exported encoder in ONNX Runtime against the same encoder in spconv, on ten real sweeps, one thread each.

python -m benchmarks.sparse.encoder

Norms are folded in both. The encoder is that of ``voxel-nuscenes``: voxels of 0.1 × 0.1 × 0.2 m, four stages of 16 to
128 channels with two residual blocks each. Times are CPU time of one thread, the best of several.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.checks import REAL_DATA
from benchmarks.sparse.speed import SPCONV_PYTHON, best_ms, real_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import names
from lidarloop_core.sparse.cloud import VoxelCloud, group_for_network, plan_of, window_of
from lidarloop_core.sparse.occupancy import Occupancy, Window
from lidarloop_core.sparse.tables import build_tables
from lidarloop_export.graph import exported
from lidarloop_training.models.encoders.voxel import level_neighbours
from lidarloop_training.models.encoders.voxel_bev import VoxelBevEncoder
from lidarloop_training.models.encoders.voxel_features import voxel_grid
from lidarloop_training.models.sparse.blocks import ConvNorm, ResidualBlock, fold_norms
from lidarloop_training.recipes.voxel_nuscenes import voxel_nuscenes

SPCONV_PROGRAM = Path(__file__).parent / "spconv_encoder.py"


class Comparison(NamedTuple):
    """Both ways on one cloud.

    Attributes:
        tables_ms: building the tables of all levels, milliseconds.
        graph_ms: the exported graph in ONNX Runtime, milliseconds.
        spconv_layers_ms: spconv without its index building, milliseconds.
        spconv_ms: spconv with its own index building, milliseconds.
        difference: largest difference of the two outputs, relative to the largest value.
    """

    tables_ms: float
    graph_ms: float
    spconv_layers_ms: float
    spconv_ms: float
    difference: float


class EncoderRows(nn.Module):
    """The spec's inputs → (V', C) rows of the map's occupied cells."""

    def __init__(self, encoder: VoxelBevEncoder, spec: ModelSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self._names = names(spec.inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        named = dict(zip(self._names, inputs, strict=True))
        levels = level_neighbours(named, len(self.encoder.sparse.stages) + 1)
        rows: Tensor = self.encoder.sparse(self.encoder.features(named["voxels"]), levels)
        return rows


def compare(cloud: npt.NDArray[np.float32], repeats: int = 3, python: Path = SPCONV_PYTHON) -> Comparison | None:
    """Both ways on an (N, C) cloud; None where spconv is not installed.

    Raises:
        RuntimeError: spconv failed, or wrote other voxels.
    """
    encoder, spec = nuscenes_encoder()
    grouped = _grouped(cloud, spec)
    session = open_session(graph_of(encoder, spec))
    inputs = {tensor.name: grouped.tensors()[tensor.name] for tensor in session.get_inputs()}
    rows = session.run(None, inputs)[0]
    theirs = spconv_pass(encoder, spec, grouped, python, repeats)
    if theirs is None:
        return None
    ordered = theirs["rows"].numpy()[_order(theirs["indices"], grouped.levels[-1].voxels)]
    plan = plan_of(voxel_grid(spec), gives_points=False)
    return Comparison(
        tables_ms=best_ms(lambda: build_tables(grouped.index.voxels, plan), repeats),
        graph_ms=best_ms(lambda: session.run(None, inputs), repeats),
        spconv_layers_ms=theirs["whole_ms"] - theirs["index_ms"],
        spconv_ms=theirs["whole_ms"],
        difference=float(np.abs(rows - ordered).max() / np.abs(ordered).max()),
    )


def nuscenes_encoder() -> tuple[VoxelBevEncoder, ModelSpec]:
    """The encoder of ``voxel-nuscenes`` with random weights, its norms folded."""
    task = voxel_nuscenes(Path()).task
    network, spec = task.network, task.spec
    torch.manual_seed(0)
    encoder = VoxelBevEncoder(spec, network.voxel_channels, network.voxel_blocks, network.map_channels).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):  # so that folding changes weights, and features keep their size
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.1, 0.3)
    fold_norms(encoder)
    return encoder, spec


def graph_of(encoder: VoxelBevEncoder, spec: ModelSpec) -> bytes:
    """The ONNX file of the encoder alone, as `lidarloop export` writes it."""
    return exported(EncoderRows(encoder, spec), spec, ["rows"])


def open_session(graph: bytes) -> Any:
    """In ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def spconv_pass(
    encoder: VoxelBevEncoder, spec: ModelSpec, grouped: VoxelCloud, python: Path, repeats: int
) -> dict[str, Any] | None:
    """What ``spconv_encoder`` writes; None where spconv is not installed.

    Raises:
        RuntimeError: spconv failed.
    """
    with torch.inference_mode():
        features = encoder.features(torch.from_numpy(grouped.index.features))
    places = torch.from_numpy(grouped.index.voxels.coordinates()[:, ::-1].copy())
    document = {
        "indices": nn.functional.pad(places, (1, 0)),
        "features": features.clone(),
        "shape": list(grouped.index.voxels.shape[::-1]),
        "units": _units(encoder, spec),
    }
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "encoder.pt", Path(folder) / "out.pt"
        torch.save(document, source)
        command = [str(python), str(SPCONV_PROGRAM), str(source), str(out), str(repeats)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            if "No module named 'spconv'" in done.stderr:
                return None
            raise RuntimeError(done.stderr)
        found: dict[str, Any] = torch.load(out)
        return found


def _units(encoder: VoxelBevEncoder, spec: ModelSpec) -> list[list[dict[str, Any]]]:
    """Layers and residual blocks in their order; see ``spconv_encoder``."""
    sparse, windows = encoder.sparse, [window_of(level) for level in voxel_grid(spec).levels]
    units = [[_layer(sparse.first, "within 0")]]
    for number, stage in enumerate(sparse.stages):
        if number:
            units.append([_layer(sparse.down[number - 1], f"down {number}", windows[number - 1])])
        for block in stage.children():
            assert isinstance(block, ResidualBlock)
            units.append([_layer(conv, f"within {number}") for conv in (block.first, block.second)])
    units.append([_layer(sparse.fold, "fold", windows[-1])])
    return units


def _layer(unit: nn.Module, key: str, window: Window | None = None) -> dict[str, Any]:
    assert isinstance(unit, ConvNorm)
    conv = unit.conv
    assert conv.bias is not None, "its norm is folded"
    geometry = (None, None) if window is None else (list(window.stride[::-1]), list(window.padding[::-1]))
    return {
        **{"weight": conv.weight.detach().clone(), "bias": conv.bias.detach().clone(), "key": key},
        **dict(zip(("stride", "padding"), geometry, strict=True)),
    }


def _order(indices: Tensor, voxels: Occupancy) -> npt.NDArray[np.int64]:
    """spconv's row of each of our voxels."""
    _, z, y, x = indices.numpy().astype(np.int64).T
    position = (y * voxels.shape.columns + x) * voxels.shape.layers + z
    order = np.argsort(position)
    if not np.array_equal(position[order], voxels.position):
        raise RuntimeError(f"spconv wrote {len(position)} voxels; expected the {voxels.num_voxels} of the tables")
    return order


def _grouped(cloud: npt.NDArray[np.float32], spec: ModelSpec) -> VoxelCloud:
    return group_for_network(cloud, voxel_grid(spec), gives_points=False)


if __name__ == "__main__":
    print(compare(real_cloud(REAL_DATA)))
