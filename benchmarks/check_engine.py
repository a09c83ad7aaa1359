"""What engines promise, measured: prints a table and writes out/checks/engine.json.

    python -m benchmarks.check_engine                  # exits 1 if a row falls short; FULL=1 runs the studies anew

Rows that need a CUDA GPU are read from results/gpu_pillar.json and skipped where no GPU was to be had yet.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import tyro

from benchmarks.checks import OUT, REAL_DATA, REPOSITORY, Context, Row, at_most, report_only, run_checks
from benchmarks.engines.precision import built_by_nvidia, check_precisions
from benchmarks.engines.speed import check_speed
from benchmarks.gpu.pillar import graphs, spec
from benchmarks.tested import rows_of_tests
from lidarloop_core.model.model_file import seal

GPU_RESULTS = REPOSITORY / "results/gpu_pillar.json"
NO_GPU = "no GPU so far"

# What is promised of logic rather than of figures is held by tests; they are run here and counted.
TESTED = {
    "engine cache: mangled, truncated, foreign, two builders, killed": "tests/core/inference/tensorrt/test_cache.py",
    "TensorRT backend on stand-ins that compute": "tests/core/inference/tensorrt/test_backend.py",
    "padding to buckets changes no bit": "tests/core/model/test_padding.py",
    "calls held against NVIDIA's own signatures": "tests/core/inference/tensorrt/test_nvidia_signatures.py",
    "GPU grouping of pillars, run on the CPU": "tests/core/gpu/test_pillars.py",
    "GPU kernels, compiled for nine kinds of GPU": "tests/core/gpu/test_kernels.py",
    "images' files": "tests/export/test_docker_files.py",
}


def check_tests(_: Context) -> Iterator[Row]:
    """Each file's tests; those that need what is not here skip and say so."""
    yield from rows_of_tests(TESTED)


def check_nuscenes_size(_: Context) -> Iterator[Row]:
    """The model that is to be measured on a GPU: NVIDIA's builder takes it."""
    of = spec()
    for precision, graph in graphs(of).items():
        yield built_by_nvidia(f"nuScenes-size pillar model, {precision}", seal(graph, of), of)


def check_gpu(_: Context) -> Iterator[Row]:
    """The nuScenes-size model on a GPU, as it was measured where one was to be had."""
    if not GPU_RESULTS.exists():
        yield Row("nuScenes-size pillar model on a GPU: p50, ms", None, "≤ 5 on an H200", None, NO_GPU)
        yield Row("nuScenes-size pillar model on a GPU: times its floor", None, "≤ 2", None, NO_GPU)
        return
    document = json.loads(GPU_RESULTS.read_text())
    rows = [row for row in document["rows"] if "p50_ms" in row]
    for row in rows:
        on = f"{row['way']} {row['precision']}, {document['gpu']}"
        yield report_only(f"nuScenes-size pillar model, {on}: p50, ms", row["p50_ms"])
        yield report_only(f"nuScenes-size pillar model, {on}: p99, ms", row["p99_ms"])
    best = min(rows, key=lambda row: float(row["p50_ms"]))
    yield at_most(f"nuScenes-size pillar model, best on {document['gpu']}: p50, ms", best["p50_ms"], 5.0)
    if best["times_floor"] is not None:
        yield at_most("nuScenes-size pillar model, best: times its floor", best["times_floor"], 2.0)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/engine.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    return run_checks(
        "engine", (check_tests, check_precisions, check_nuscenes_size, check_speed, check_gpu), data=data, out=out
    )


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
