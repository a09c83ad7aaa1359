"""lidar_detector with ``backend: tensorrt`` on the stand-ins for TensorRT and CUDA: run as a process by tests/ros."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lidarloop_core.gpu import device as gpu_device
from lidarloop_core.inference.backend import open_backend
from lidarloop_ros.detector import loaded
from lidarloop_ros.detector.node import main
from tests.core.gpu.fake_gpu import StandInGpu


def put_in_place(gpu: StandInGpu, patch: pytest.MonkeyPatch) -> None:
    """Lets ``backend: tensorrt`` open models on the stand-in, and run the kernels there."""

    def opened(model: Path, *, providers: tuple[str, ...], num_threads: int) -> Any:
        if providers == ("tensorrt",):
            return gpu.open_backend(model)
        return open_backend(model, providers=providers, num_threads=num_threads)

    patch.setattr(loaded, "open_backend", opened)
    patch.setattr(gpu_device, "GpuDevice", lambda cuda: gpu.device())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        put_in_place(StandInGpu(Path(folder)), patch)
        sys.exit(main())
