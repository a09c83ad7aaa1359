"""Parity with spconv: on the CPU in a process of one thread, on CUDA where there is a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from lidarloop_core.sparse.occupancy import SUBMANIFOLD, GridShape, Window, strided_occupancy
from lidarloop_core.sparse.tables import neighbour_table
from lidarloop_training.models.sparse.convolution import pair_product
from lidarloop_training.models.sparse.rulebook import rulebook_of
from lidarloop_training.models.sparse.spconv_way import spconv_is_installed, spconv_product
from tests.training.models.sparse.scenes import ALL, random_features, scene

needs_spconv = pytest.mark.skipif(find_spec("spconv") is None, reason="spconv is not installed")


@needs_spconv
def test_spconv_on_one_thread_gives_the_same_voxels_outputs_and_gradients(repository: Path) -> None:
    """Submanifold, strided and inverse; weights are shared, so the layout of their axes is the same too."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.models.sparse.spconv_parity"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    differences: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert len(differences) == 9 * 2 * 3
    assert {name: value for name, value in differences.items() if not value <= 1e-5} == {}


@pytest.mark.gpu
@pytest.mark.parametrize("window", [SUBMANIFOLD, Window()])
def test_on_a_gpu_spconv_and_the_pairs_give_what_the_cpu_gives(window: Window) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    fine = scene(GridShape(64, 64, 20), 0.08, 0)
    coarse = fine if window == SUBMANIFOLD else strided_occupancy(fine, window, ALL)
    rulebook = rulebook_of(neighbour_table(fine, coarse, window), fine.num_voxels)
    weight = torch.randn(32, 3, 3, 3, 16) / 20
    features = random_features(fine, 16).float()
    products = [pair_product, *([spconv_product] if spconv_is_installed() else [])]
    grad = torch.randn(coarse.num_voxels, 32)
    results = []
    runs: tuple[tuple[str, list[Any]], ...] = (("cpu", [pair_product]), ("cuda", products))
    for device, ways in runs:
        for product in ways:
            inputs = [tensor.to(device).requires_grad_() for tensor in (features, weight)]
            output = product(*inputs, rulebook.to(device))
            results.append([output, *torch.autograd.grad(output, inputs, grad.to(device))])
    for found in results[1:]:
        for a, b in zip(found, results[0], strict=True):
            assert (a.cpu() - b).abs().max() <= 1e-3 * b.abs().max()  # TF32 at most
