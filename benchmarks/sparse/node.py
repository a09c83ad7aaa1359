"""The shipped model on voxels through the node at 10 Hz, beside the one on pillars: latencies of one run.

python -m benchmarks.sparse.node                   # --voxels FILE takes another model

Both models are played the demo's drive at its recorded pace, one after the other and once more in the other order, so
that what else the machine does falls on both.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tyro

from benchmarks.checks import Context, Row, at_most, lidarloop, report_only
from benchmarks.sparse.shipped import PILLARS, VOXELS, missing

SEED = 7
"""The demo's drive."""
DURATION_S = 20.0
MOST_BY_PILLARS = 2.5


class Latency(NamedTuple):
    """Latencies of a model, stamp to publication; the calmer of its runs.

    Attributes:
        p50_ms: median, milliseconds.
        p99_ms: 99th percentile, milliseconds.
        num_dropped: clouds without an answer.
        num_sent: clouds sent.
    """

    p50_ms: float
    p99_ms: float
    num_dropped: int
    num_sent: int


def latencies(folder: Path, models: tuple[Path, Path], duration_s: float = DURATION_S) -> list[Latency]:
    """Latencies of two models on the demo's drive, which is written to ``folder``."""
    bag = folder / "drive.mcap"
    lidarloop("convert", "toytown", SEED, bag, "--no-cameras", "--duration-s", duration_s)
    runs: dict[Path, list[Latency]] = {model: [] for model in models}
    for number, model in enumerate((*models, *reversed(models))):
        out = folder / f"replay-{number}"
        lidarloop("replay", bag, "--model", model, "--out", out)
        found = json.loads((out / "latency.json").read_text())
        of_clouds = found["latency_ms"]
        runs[model].append(Latency(of_clouds["p50"], of_clouds["p99"], found["frames_dropped"], found["frames_sent"]))
    return [min(of_model, key=lambda run: (run.num_dropped, run.p50_ms)) for of_model in runs.values()]


def check_node(context: Context) -> Iterator[Row]:
    """p50, p99 and dropped clouds of both models."""
    if not VOXELS.is_file():
        yield missing("node at 10 Hz, voxels / pillars, p50", f"≤ {MOST_BY_PILLARS:g}", VOXELS)
    else:
        yield from rows(*latencies(context.scratch, (PILLARS, VOXELS)))


def rows(pillars: Latency, voxels: Latency) -> Iterator[Row]:
    """What is promised of the two."""
    for name, run in (("pillars", pillars), ("voxels", voxels)):
        yield report_only(f"node at 10 Hz on the demo's drive, {name}: p50, ms", run.p50_ms)
        yield report_only("  p99, ms", run.p99_ms)
        yield at_most(f"  dropped, of {run.num_sent}", run.num_dropped, 0)
    yield at_most("  voxels / pillars, p50", voxels.p50_ms / pillars.p50_ms, MOST_BY_PILLARS)
    yield at_most("  voxels / pillars, p99", voxels.p99_ms / pillars.p99_ms, MOST_BY_PILLARS)


def main(voxels: Path = VOXELS, pillars: Path = PILLARS, duration_s: float = DURATION_S) -> None:
    """Prints the rows of two models.

    Args:
        voxels: model on voxels.
        pillars: model on pillars.
        duration_s: how much of the drive is played, seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(*latencies(Path(folder), (pillars, voxels), duration_s)):
            print(row.what, f"{row.value:.4g}", row.target)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
