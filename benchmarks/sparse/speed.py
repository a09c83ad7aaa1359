"""Neighbour tables against spconv's own index building, and a training step with rulebooks against plain gathers.

One core. Times are CPU time of one thread, so that other jobs on the machine weigh little; each is the best of several.
Memory is the growth of the process's peak over one step, each way in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tyro

from benchmarks.checks import REPOSITORY
from benchmarks.memory import peak_mb
from lidarloop_core.pointcloud.grid import VoxelGrid
from lidarloop_core.sparse.occupancy import Window
from lidarloop_core.sparse.tables import LevelPlan, build_tables
from lidarloop_core.sparse.voxels import group_voxels

ALL = 10**6
SPCONV_PYTHON = Path(os.environ.get("LIDARLOOP_SPCONV_PYTHON", sys.executable))
FOUR_LEVELS = (LevelPlan(ALL), *[LevelPlan(ALL, Window())] * 3)

SPCONV = """
import json, sys, time
import numpy as np, torch
from spconv.core import ConvAlgo
from spconv.pytorch.ops import get_indice_pairs
torch.set_num_threads(1)
ones, threes, twos, zeros = [1] * 3, [3] * 3, [2] * 3, [0] * 3
first = torch.from_numpy(np.load(sys.argv[1]))
def build():
    indices, shape, counts = first, json.loads(sys.argv[2]), []
    for level in range(4):
        if level:
            indices, _, _ = get_indice_pairs(indices, 1, shape, ConvAlgo.Native, threes, twos, ones, ones, zeros, False)
            shape = [(size - 1) // 2 + 1 for size in shape]
        get_indice_pairs(indices, 1, shape, ConvAlgo.Native, threes, ones, ones, ones, zeros, True)
        counts.append(len(indices))
    return counts
times = []
for _ in range(int(sys.argv[3])):
    start = time.thread_time()
    counts = build()
    times.append(1e3 * (time.thread_time() - start))
print(json.dumps({"ms": min(times), "counts": counts}))
"""


def grid_of(cell_size_m: tuple[float, float, float]) -> VoxelGrid:
    """±51.2 m, −5 … 3 m; room for all voxels."""
    return VoxelGrid((-51.2, 51.2), (-51.2, 51.2), (-5.0, 3.0), cell_size_m, ALL)


def table_building(cloud: npt.NDArray[np.float32], repeats: int = 15) -> dict[str, float]:
    """ms of grouping (N, C) points and of all tables of four levels at 0.1 × 0.1 × 0.2 m, and voxels of each level."""
    grid = grid_of((0.1, 0.1, 0.2))
    index = group_voxels(cloud, grid)
    tables = build_tables(index.voxels, FOUR_LEVELS)
    return {
        "grouping ms": best_ms(lambda: group_voxels(cloud, grid), repeats),
        "tables ms": best_ms(lambda: build_tables(index.voxels, FOUR_LEVELS), repeats),
        **{f"voxels at level {i}": level.voxels.num_voxels for i, level in enumerate(tables)},
    }


def spconv_index_building(cloud: npt.NDArray[np.float32], python: Path, repeats: int = 8) -> dict[str, Any] | None:
    """The same for spconv's rulebooks of an (N, C) cloud, on one thread; None where spconv is not installed.

    Raises:
        RuntimeError: if spconv fails.
    """
    grid = grid_of((0.1, 0.1, 0.2))
    places = group_voxels(cloud, grid).voxels.coordinates()[:, ::-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "indices.npy"
        np.save(path, np.pad(places, ((0, 0), (1, 0))))
        command = [str(python), "-c", SPCONV, str(path), json.dumps(grid.shape[::-1]), str(repeats)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if "No module named 'spconv'" in done.stderr:
            return None
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


Way = Literal["rulebook", "table"]


def training_step(way: Way, clouds: Path) -> dict[str, float]:
    """CPU time (ms, best of three) and growth of peak memory (MB) of one step of the small encoder, batch of four."""
    import torch

    from lidarloop_training.models.encoders.voxel import LevelNeighbours, VoxelEncoder, VoxelEncoderConfig
    from lidarloop_training.models.sparse.rulebook import batched_table, rulebook_of

    torch.set_num_threads(1)
    halve = Window((2, 2, 2), (2, 2, 2), (0, 0, 0))
    config = VoxelEncoderConfig((16, 32, 64), (1, 1, 1), (halve, halve), 64)
    fold = Window((1, 1, 5), (1, 1, 1), (0, 0, 0))
    plan = (LevelPlan(ALL), *[LevelPlan(ALL, halve)] * 2, LevelPlan(ALL, fold, has_submanifold=False))
    grid = grid_of((0.2, 0.2, 0.4))
    stored = np.load(clouds)
    indices = [group_voxels(stored[name], grid) for name in stored.files]
    samples = [build_tables(index.voxels, plan) for index in indices]

    def neighbours(level: int, kind: Literal["submanifold", "down"]) -> Any:
        sources = [s[level - (kind == "down")].voxels.num_voxels for s in samples]
        table = batched_table([getattr(s[level], kind) for s in samples], sources)
        return torch.from_numpy(table) if way == "table" else rulebook_of(table, sum(sources))

    levels = [
        LevelNeighbours(
            neighbours(i, "submanifold") if entry.has_submanifold else None,
            neighbours(i, "down") if entry.window else None,
        )
        for i, entry in enumerate(plan)
    ]
    features = torch.from_numpy(np.concatenate([index.features for index in indices])) / 50
    torch.manual_seed(0)
    network = VoxelEncoder(5, 5, config)
    network(features[:0], [LevelNeighbours(*[_emptied(n) for n in level]) for level in levels])  # compile, import

    def step() -> None:
        network(features, levels).square().mean().backward()

    before = peak_mb()
    step()
    grown = peak_mb() - before
    return {"MB": grown, "ms": best_ms(step, 3), "loss": float(network(features, levels).square().mean())}


def _emptied(neighbours: Any) -> Any:
    """The same kind of neighbours for no voxels."""
    import torch

    from lidarloop_training.models.sparse.rulebook import rulebook_of

    if neighbours is None:
        return None
    if isinstance(neighbours, torch.Tensor):
        return neighbours[:0]
    return rulebook_of(np.zeros((0, len(neighbours.counts)), np.int32), 0)


def best_ms(what: Callable[[], object], repeats: int) -> float:
    """CPU time of this thread, milliseconds, the best of several."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        what()
        times.append(1e3 * (time.thread_time() - start))
    return min(times)


def toytown_clouds(path: Path) -> None:
    """Writes four clouds of three merged sweeps, (N, 5) float32 each."""
    from lidarloop_core.pointcloud.sweeps import merge_sweeps
    from lidarloop_training.toytown.drive import ToyTownDrive

    columns = ("x", "y", "z", "intensity", "dt")
    drives = [ToyTownDrive(seed, duration_s=2.0, num_sweeps=3, cameras=False) for seed in range(1000, 1004)]
    np.savez(path, *[merge_sweeps(drive[12].sweeps, columns) for drive in drives])


def real_cloud(data: Path) -> npt.NDArray[np.float32]:
    """(N, 5) float32: ten real nuScenes sweeps, merged."""
    path = next((data / "nuscenes_10sweep").glob("*.bin"))
    return np.fromfile(path, np.float16).reshape(-1, 5).astype(np.float32)


def training_steps(scratch: Path) -> dict[Way, dict[str, float]]:
    """Way → ``training_step``, each in a process of its own, since a peak of memory never falls."""
    toy = scratch / "clouds.npz"
    toytown_clouds(toy)
    steps: dict[Way, dict[str, float]] = {}
    ways: tuple[Way, ...] = ("rulebook", "table")
    for way in ways:
        command = [sys.executable, "-m", "benchmarks.sparse.speed", way, str(toy)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        steps[way] = json.loads(done.stdout)
    return steps


def main(way: tyro.conf.Positional[Way], clouds: tyro.conf.Positional[Path]) -> None:
    """Measures one training step with such neighbours, in this process, and prints it as JSON.

    Args:
        way: what the convolutions take.
        clouds: file of toy-town clouds.
    """
    print(json.dumps(training_step(way, clouds)))


if __name__ == "__main__":
    tyro.cli(main)
