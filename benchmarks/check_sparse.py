"""What sparse networks promise, measured: prints a table and writes out/checks/sparse.json.

python -m benchmarks.check_sparse                  # exits 1 if a row falls short

Rows against spconv need it: where it is not installed, $LIDARLOOP_SPCONV_PYTHON may name an interpreter that has it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import tyro

from benchmarks.checks import OUT, REAL_DATA, Context, Row, at_least, at_most, report_only, run_checks
from benchmarks.sparse.accuracy import check_accuracy
from benchmarks.sparse.encoder import compare
from benchmarks.sparse.node import check_node
from benchmarks.sparse.overflow import check_overflow
from benchmarks.sparse.speed import SPCONV_PYTHON, real_cloud, spconv_index_building, table_building, training_steps
from benchmarks.tested import rows_of_tests

TESTED = {
    "voxels: numba, numpy and capacities": "tests/core/sparse/test_voxels.py",
    "tables: brute force, all strides and paddings": "tests/core/sparse/test_tables.py",
    "voxels and tables on the GPU, run on the CPU": "tests/core/gpu/test_voxels.py",
    "layers and gradients: dense conv3d": "tests/training/models/sparse/test_convolution.py",
    "layers and gradients: spconv, one thread": "tests/training/models/sparse/test_spconv.py",
    "encoder: dense conv3d": "tests/training/models/encoders/test_voxel.py",
    "detector: a batch equals its clouds": "tests/training/models/test_voxel_detector.py",
    "detector: ONNX Runtime, NVIDIA's builder in fp32 and fp16, overflow": "tests/export/test_voxel_graph.py",
    "U-Net: dense network, a batch equals its clouds": "tests/training/models/test_unet.py",
    "Lovász-softmax: its definition": "tests/training/losses/test_segmentation.py",
    "segmenter: ONNX Runtime, NVIDIA's builder in fp32 and fp16": "tests/export/test_segmenter_graph.py",
    "segmenter on the vehicle: empty, overflow, not finite": "tests/core/inference/test_segmenter.py",
    "sweeps on the GPU, stand-ins that compute": "tests/core/inference/test_gpu_pipeline.py",
    "sweeps on the GPU, in the node": "tests/ros/detector/test_sweeps_on_gpu.py",
    "node over DDS, pillars and voxels": "tests/ros/detector/test_node.py",
    "node over DDS, pillars and voxels: clouds with faults, overflow at each level": "tests/ros/faults/test_clouds.py",
    "node over DDS: models on pillars and voxels swapped": "tests/ros/detector/test_model_swap.py",
    "node over DDS with a segmenter": "tests/ros/detector/test_segmenter_node.py",
}


def check_tests(_: Context) -> Iterator[Row]:
    """Each file's tests; those that need what is not here skip and say so."""
    yield from rows_of_tests(TESTED)


def check_tables(context: Context) -> Iterator[Row]:
    """Tables of four levels of a real cloud of ten sweeps, one core, against spconv's own index building."""
    cloud = real_cloud(context.data)
    ours, theirs = table_building(cloud), spconv_index_building(cloud, SPCONV_PYTHON)
    yield report_only("ten real sweeps, 0.1 × 0.1 × 0.2 m, four levels, one core: tables, ms", ours["tables ms"])
    yield report_only("  grouping of the points, ms", ours["grouping ms"])
    if theirs is None:
        yield Row("  tables / spconv's index building", None, "≤ 0.5", None, f"{SPCONV_PYTHON} has no spconv")
        return
    yield report_only("  spconv's index building, ms", theirs["ms"])
    yield at_most("  tables / spconv's index building", ours["tables ms"] / theirs["ms"], 0.5)


def check_encoder(context: Context) -> Iterator[Row]:
    """The exported encoder of ``voxel-nuscenes`` in ONNX Runtime against the same encoder in spconv, one thread."""
    found = compare(real_cloud(context.data))
    if found is None:
        yield Row("encoder: spconv / exported graph", None, "≥ 1", None, f"{SPCONV_PYTHON} has no spconv")
        return
    what = "encoder of ten real sweeps, one thread"
    yield at_most(f"{what}: exported against spconv, relative", found.difference, 1e-5)
    yield report_only(f"{what}: tables, ms", found.tables_ms)
    yield report_only("  exported graph in ONNX Runtime, ms", found.graph_ms)
    yield report_only("  spconv, ms", found.spconv_ms)
    yield report_only("  of it layers alone, ms", found.spconv_layers_ms)
    yield at_least("  spconv / tables and graph", found.spconv_ms / (found.tables_ms + found.graph_ms), 1.0)
    yield report_only("  spconv's layers / graph", found.spconv_layers_ms / found.graph_ms)


def check_memory(context: Context) -> Iterator[Row]:
    """A training step of a small encoder, by rulebooks and by plain gathers, each in a process of its own."""
    steps = training_steps(context.scratch)
    for way, step in steps.items():
        yield report_only(f"training step of a small encoder, batch of four, by {way}: MB", step["MB"])
        yield report_only(f"training step of a small encoder, batch of four, by {way}: CPU ms", step["ms"])
    yield at_most("  memory, rulebooks / gathers", steps["rulebook"]["MB"] / steps["table"]["MB"], 1 / 3)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/sparse.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    on_real_clouds = (check_tables, check_encoder)
    checks = (check_tests, *on_real_clouds, check_memory, check_accuracy, check_node, check_overflow)
    return run_checks("sparse", checks, needing_data=on_real_clouds, data=data, out=out)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
