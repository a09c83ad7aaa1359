"""The CUDA source as a library for the CPU, compiled once."""

from __future__ import annotations

import ctypes

import pytest

from lidarloop_core.gpu.grouping import source
from tests.core.gpu.cpu_device import compile_for_cpu


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_for_cpu(source(), tmp_path_factory.mktemp("kernels"))
