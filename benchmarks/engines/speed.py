"""How much faster the optimised files are than the shipped one in onnxruntime on the CPU: every run next to its rival.

    python -m benchmarks.engines.speed        # writes results/engine_speed.json; half a minute

Files take turns, run by run, so that a machine that slows down slows them all. The ratio is of medians; times are this
process's own (wall clock beside them), which other processes disturb less. One thread: the waiting threads of a file's
session would take the cores from the next one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.checks import REPOSITORY, SHIPPED_MODEL, Context, Row, as_json, at_least, commit, runs_studies
from benchmarks.engines.precision import LIVE_CALIBRATION_FRAMES, make_variants
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.io import atomic
from lidarloop_core.machine import has_int8_instructions, machine, versions
from lidarloop_core.model.model_file import read_model
from lidarloop_export.clouds import clouds, graph_inputs

STORED = REPOSITORY / "results/engine_speed.json"
# int8 against the shipped file. Without dot products of int8 the processor widens each factor to 16 bits first.
TARGET_WITH_INT8_INSTRUCTIONS, TARGET_WITHOUT = 1.8, 1.3
SHIPPED, TIDY, INT8 = "as shipped", "fp32", "int8 for the CPU"
CLOUDS = ("toy town", "nuScenes keyframe", "nuScenes, ten sweeps")


def measure(paths: dict[str, Path], num_rounds: int) -> list[dict[str, Any]]:
    """Times of every file on every cloud, raw."""
    files = {SHIPPED: SHIPPED_MODEL, TIDY: paths[TIDY], INT8: paths[INT8]}
    backends = {name: open_backend(path, num_threads=1) for name, path in files.items()}
    spec = next(iter(backends.values())).spec
    found = []
    for cloud in clouds(spec):
        if cloud.name not in CLOUDS:
            continue
        inputs = graph_inputs(cloud.points, spec)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in backends}
        for round_ in range(num_rounds + 3):
            for name, backend in backends.items():
                start, cpu = time.perf_counter(), time.process_time()
                backend.infer(inputs)
                if round_ >= 3:
                    times[name].append((1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - start)))
        found.append(
            {
                "cloud": cloud.name,
                "num_points": len(inputs["points"]),
                "num_pillars": len(inputs["cell"]),
                "cpu_ms": {name: [round(t[0], 3) for t in runs] for name, runs in times.items()},
                "wall_ms": {name: [round(t[1], 3) for t in runs] for name, runs in times.items()},
            }
        )
    return found


def check_speed(context: Context) -> Iterator[Row]:
    """Before and after, in one run."""
    if runs_studies():
        study()
    if STORED.exists():
        yield from rows_of(json.loads(STORED.read_text())["measured"], "stored", TARGET_WITH_INT8_INSTRUCTIONS)
    paths = make_variants(context.scratch, LIVE_CALIBRATION_FRAMES)
    with_instructions = has_int8_instructions()
    target = TARGET_WITH_INT8_INSTRUCTIONS if with_instructions else TARGET_WITHOUT
    when = "now" if with_instructions else "now, a processor without int8 instructions"
    yield from rows_of(measure(paths, num_rounds=15), when, target)


def rows_of(measured: list[dict[str, Any]], when: str, target: float) -> Iterator[Row]:
    """How many times faster int8 is than the shipped file, by the medians of each cloud."""
    for entry in measured:
        before, after = (float(np.median(entry["cpu_ms"][name])) for name in (SHIPPED, INT8))
        on = f"{entry['cloud']}, {before:.1f} → {after:.1f} ms in one thread, {when}"
        yield at_least(f"onnxruntime CPU, int8 against shipped: times faster ({on})", before / after, target)


def study(num_rounds: int = 40) -> None:
    """Measures, and stores every run.

    Args:
        num_rounds: runs of each file on each cloud.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = make_variants(Path(folder), calibration_frames=12)
        measured = measure(paths, num_rounds)
    document = {
        "command": sys.argv,
        "seed": 0,
        "model_sha256": read_model(SHIPPED_MODEL).sha256,
        "commit": commit(),
        "machine": machine(),
        "load_1min": os.getloadavg()[0],
        "versions": versions(),
        "measured": measured,
    }
    atomic.write_bytes(STORED, as_json(document))
    print(STORED)


if __name__ == "__main__":
    tyro.cli(study)
