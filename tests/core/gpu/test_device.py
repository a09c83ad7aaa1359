"""Copies to and from the GPU through pinned memory, on the stand-in whose stream runs only when it is waited for."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.gpu import device as gpu_device
from lidarloop_core.gpu.cuda import Cuda
from lidarloop_core.gpu.device import GpuDevice
from tests.core.inference.tensorrt.fake_tensorrt import FakeRuntime


def test_what_was_given_may_change_at_once_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_device, "Kernels", lambda *_: None)  # compiling needs a driver
    runtime = FakeRuntime()
    device = GpuDevice(Cuda(runtime), upload_bytes=1024)
    random, copies = np.random.default_rng(0), []
    for size in (1, 900, 300, 1024, 1025, 5000, 100, 9000, 20_000, 7):
        data = random.integers(0, 256, size, np.uint8)
        memory = device.allocate(size + 5)
        device.upload(memory, data, offset=5)
        copies.append((memory, data.copy()))
        data[:] = 0
    for memory, expected in copies:
        found = np.frombuffer(device.download(memory, 5 + len(expected)), np.uint8)
        np.testing.assert_array_equal(found[5:], expected)
    del device, memory
    copies.clear()
    assert runtime.memory == {}
