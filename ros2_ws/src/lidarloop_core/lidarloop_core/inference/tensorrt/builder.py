"""ONNX → a TensorRT engine, by NVIDIA's package that is passed in: tensorrt on a vehicle, tensorrt_rtx in checks.

Networks are strongly typed: each tensor has the type that the ONNX file gives it. TensorRT 11 has no other mode, and
TensorRT 10 is set to it here, so that one file means one arithmetic everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lidarloop_core.errors import LidarloopError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import profile_shapes

OnProgress = Callable[[str, float], None]
"""Takes the builder's phase and the share of it that is done, in [0, 1]; may be called from several threads."""


class EngineError(LidarloopError):
    """NVIDIA's parser or builder refused a model."""


def build_engine(
    trt: Any,
    network: bytes,
    spec: ModelSpec,
    configure: Callable[[Any], None] = lambda _: None,
    *,
    timings: bytes = b"",
    on_progress: OnProgress | None = None,
) -> tuple[bytes, bytes]:
    """Builds the engine of a model.

    Args:
        trt: the module ``tensorrt`` (10 or later) or ``tensorrt_rtx``.
        network: the graph, ONNX.
        spec: its contract; the shape profile reaches from one row of each input to the model's capacity.
        configure: sets what differs between targets on the builder's config.
        timings: timing cache of an earlier build on this GPU; empty for none.
        on_progress: takes reports of progress.

    Returns:
        The serialised engine, and the timing cache for the next build (empty where the package keeps none).

    Raises:
        EngineError: the parser or the builder refused the model; with their reasons.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(network):
        reasons = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise EngineError(f"NVIDIA's parser refuses the model: {reasons}. Export a network without these operators")
    config = builder.create_builder_config()
    configure(config)
    if on_progress is not None:
        config.progress_monitor = _progress_monitor(trt, on_progress)
    cache = config.create_timing_cache(timings)
    if cache is not None:
        config.set_timing_cache(cache, False)
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in profile_shapes(spec.inputs).items():
        profile.set_shape(name, smallest, usual, largest)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(definition, config)
    if engine is None:
        raise EngineError("NVIDIA's builder built no engine from the model; its messages are printed above")
    kept = config.get_timing_cache() if cache is not None else None
    return bytes(engine), b"" if kept is None else bytes(kept.serialize())


def _progress_monitor(trt: Any, on_progress: OnProgress) -> Any:
    """The builder's progress interface over a function; its phases come nested and from several threads."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._num_steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._num_steps[phase_name] = num_steps
            on_progress(phase_name, 0.0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            on_progress(phase_name, (step + 1) / max(1, self._num_steps.get(phase_name, 1)))
            return True  # False would cancel the build

        def phase_finish(self, phase_name: str) -> None:
            self._num_steps.pop(phase_name, None)
            on_progress(phase_name, 1.0)

    return Monitor()
