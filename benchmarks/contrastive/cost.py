"""What a step of pre-training costs: seconds, memory, and where the time goes, on one core or one CUDA device.

The measurement runs in a process of its own, since a peak of memory never falls.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.checks import REPOSITORY
from benchmarks.memory import peak_mb
from lidarloop_core.sample import CameraImage, Sample, SampleSource
from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives
from lidarloop_training.tasks.pretext.dataset import ContrastDataset
from lidarloop_training.tasks.pretext.image_features import ImageFeatures
from lidarloop_training.tasks.task import ExampleKey, Examples, TaskConfig

_STEPS = 6
_BATCH = 4

T = TypeVar("T")


def cost_of(config: TaskConfig, drives: ToyTownDrives) -> dict[str, float]:
    """``measure`` in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    with TemporaryDirectory() as folder:
        settings = Path(folder) / "settings.pickle"
        settings.write_bytes(pickle.dumps((config, drives)))
        command = [sys.executable, "-m", "benchmarks.contrastive.cost", str(settings)]
        done = subprocess.run(command, cwd=Path.cwd(), capture_output=True, text=True, check=False, env=_environment())
    if done.returncode != 0:
        raise RuntimeError(f"a step of {config.name} could not be measured: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(config: TaskConfig, drives: ToyTownDrives) -> dict[str, float]:
    """Median over some steps of four clouds.

    Returns:
        ``data s`` reading, ``features s`` reading kept maps of pictures, ``units s`` all else of an example (units,
        pooling, random changes, grouping), ``forward s`` network and loss, ``backward s``; ``step s`` their sum; and
        ``memory MB``, the peak's growth over the steps: of CUDA's memory where there is such a device.
    """
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source, task = open_drives(drives, drives.train_seeds, 1), config.task()
    network = task.build().train().to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    examples = task.dataset(source, training=True, seed=0)
    keys = [ExampleKey(0, index % len(source)) for index in range(_BATCH)]
    batch: Any = task.collate([examples[key] for key in keys])
    torch.autograd.backward(task.loss(network, batch.to(device)).total)  # compile, import
    before = _peak_mb(device)
    rows = []
    for step in range(_STEPS):
        keys = [ExampleKey(1, (step * _BATCH + index) % len(source)) for index in range(_BATCH)]
        data_s = _timed(partial(_samples, source, keys), device)[1]
        features_s = 0.0
        if isinstance(examples, ContrastDataset) and examples.features is not None:
            pictures = [source[key.sample].cameras for key in keys]
            read = partial(_read_all, examples.features, pictures)
            read()  # computes what is not kept yet
            features_s = _timed(read, device)[1]
        made, examples_s = _timed(partial(_made, examples, keys), device)
        batch = task.collate(made).to(device)
        terms, forward_s = _timed(partial(task.loss, network, batch), device)
        optimizer.zero_grad()
        backward_s = _timed(partial(torch.autograd.backward, terms.total), device)[1]
        optimizer.step()
        del made, terms  # they would count in the next step's peak of memory
        rows.append((data_s, features_s, max(0.0, examples_s - data_s - features_s), forward_s, backward_s))
    names = ("data s", "features s", "units s", "forward s", "backward s")
    found = dict(zip(names, np.median(rows, axis=0).tolist(), strict=True))
    return {**found, "step s": sum(found.values()), "memory MB": _peak_mb(device) - before}


def _samples(source: SampleSource, keys: Sequence[ExampleKey]) -> list[Sample]:
    return [source[key.sample] for key in keys]


def _made(examples: Examples[Any], keys: Sequence[ExampleKey]) -> list[Any]:
    return [examples[key] for key in keys]


def _read_all(kept: ImageFeatures, pictures: Sequence[Sequence[CameraImage]]) -> None:
    for cameras in pictures:
        kept.maps(cameras)


def _timed(what: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """Result and seconds of a call: of this thread's processor, or by the clock where a device works beside it."""
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    start = clock()
    result = what()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return result, clock() - start


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_mb()


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


if __name__ == "__main__":
    print(json.dumps(measure(*pickle.loads(Path(sys.argv[1]).read_bytes()))))
