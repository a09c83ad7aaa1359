"""Do NVIDIA's own ONNX parser and builder take a model? TensorRT-RTX answers without a GPU.

In a process of its own: its libraries abort on some inputs instead of reporting them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lidarloop_core.inference.tensorrt.builder import EngineError, build_engine
from lidarloop_core.model.model_file import read_model
from lidarloop_core.model.spec import ModelSpec

MODULE = "tensorrt_rtx"
TIMEOUT_S = 300

TARGETS = ("SM86", "SM120")
"""Desktop Ampere, the closest to Jetson Orin's GPU, and Blackwell; neither GPU need be present."""


def is_installed() -> bool:
    """Whether TensorRT-RTX is there."""
    return find_spec(MODULE) is not None


def check_nvidia_builds(model: bytes, spec: ModelSpec) -> str:
    """Builds an engine for each of ``TARGETS`` from a sealed model file's bytes and throws them away.

    Returns:
        One line: version, targets and the engines' sizes.

    Raises:
        EngineError: TensorRT-RTX is not installed, or refused the model.
    """
    if not is_installed():
        raise EngineError(
            "NVIDIA's parser was asked for, but tensorrt-rtx is not installed: pip install lidarloop[rtx]"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{spec.name}.onnx"
        path.write_bytes(model)
        command = [sys.executable, "-m", "lidarloop_export.rtx_check", str(path)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if run.returncode != 0:
        output = " ".join((run.stderr or run.stdout).split())[-1000:]
        raise EngineError(f"NVIDIA's parser or builder refused the model (exit {run.returncode}): {output}")
    return run.stdout.strip()


def _for(trt: Any, target: str) -> Callable[[Any], None]:
    """Settings of a build for one kind of GPU."""

    def configure(config: Any) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)

    return configure


def main(path: Path) -> None:
    """Builds the engines of a model file and prints one line on them."""
    import tensorrt_rtx as trt

    file = read_model(path)
    sizes = {
        target: len(build_engine(trt, file.onnx_bytes, file.spec, _for(trt, target))[0]) / 1e6 for target in TARGETS
    }
    built = " and ".join(f"{target} ({size:.1f} MB)" for target, size in sizes.items())
    print(f"TensorRT-RTX {trt.__version__} parsed and built it for {built}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
