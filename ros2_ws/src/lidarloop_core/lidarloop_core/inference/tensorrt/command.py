"""`lidarloop build-engine MODEL`: a model's engine, before the vehicle needs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import tyro

from lidarloop_core.errors import ConfigError
from lidarloop_core.gpu.cuda import Cuda, import_runtime
from lidarloop_core.inference.tensorrt.backend import cached_engine, engine_key, import_tensorrt
from lidarloop_core.inference.tensorrt.builder import OnProgress
from lidarloop_core.inference.tensorrt.cache import EngineCache
from lidarloop_core.model.model_file import read_model


def build_engine(
    model: tyro.conf.Positional[Path],
    *,
    precision: Literal["fp32", "fp16", "int8"] | None = None,
    cache: Path | None = None,
    rebuild: bool = False,
    device: int = 0,
) -> None:
    """Builds the TensorRT engine of a model file into the cache, on the machine that will run it.

    The node does the same on its first start, which then takes as long. An engine belongs to this GPU, this TensorRT
    and this file; it is never copied between machines.

    Args:
        model: a model file. An engine computes in the precision of its file.
        precision: the precision that the file is expected to be in; it is not converted here.
        cache: folder of engines; by default $LIDARLOOP_ENGINE_CACHE or lidarloop/engines in the user's cache folder.
        rebuild: build it even if it is there.
        device: number of the GPU.

    Raises:
        ConfigError: the file is in another precision.
    """
    file = read_model(model)
    if precision is not None and precision != file.precision:
        raise ConfigError(
            f"build-engine received a model in {file.precision}; expected {precision}. Since TensorRT 11 an engine has "
            f"the precision of its ONNX file: make that with `lidarloop optimise {model} OUT --precision {precision}`"
        )
    trt, cuda = import_tensorrt(), Cuda(import_runtime(), device)
    engines = EngineCache(cache, report=lambda line: print(line, file=sys.stderr))
    key = engine_key(trt, file, cuda.gpu)
    if rebuild:
        engines.discard(key)
    with _progress() as on_progress:
        engine = cached_engine(trt, file, engines, cuda.gpu, on_progress)
    print(f"{engines.path(key)}  ({len(engine) / 1e6:.1f} MB, {key.precision}, {key.runtime}, {key.gpu})")


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """A bar in percent for each phase of the builder."""
    from rich.progress import TaskID

    from lidarloop_core.progress import progress_bars

    tasks: dict[str, TaskID] = {}
    with progress_bars() as bars:

        def on_progress(phase: str, share: float) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=100)
            bars.update(tasks[phase], completed=100 * share, visible=share < 1)

        yield on_progress
