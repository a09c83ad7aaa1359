"""ONNX → a TensorRT engine, over NVIDIA's package that is given: tensorrt on a vehicle, tensorrt_rtx in checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lidarloop_core.errors import LidarloopError
from lidarloop_core.model.spec import ModelSpec


class EngineError(LidarloopError):
    """NVIDIA's parser or builder refused a model."""


def build_engine(trt: Any, network: bytes, spec: ModelSpec, configure: Callable[[Any], None]) -> bytes:
    """Builds the engine of a model.

    Args:
        trt: the module ``tensorrt`` (10 or later) or ``tensorrt_rtx``.
        network: ONNX.
        spec: its contract; the shape profile reaches from one point to the model's capacity.
        configure: sets what differs between targets on the builder's config.

    Returns:
        The serialised engine.

    Raises:
        EngineError: with what the parser or the builder said.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    definition = builder.create_network(0)
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(network):
        reasons = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise EngineError(f"NVIDIA's parser refuses the model: {reasons}. Export a network without these operators")
    config = builder.create_builder_config()
    configure(config)
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in profile_shapes(spec).items():
        profile.set_shape(name, smallest, usual, largest)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(definition, config)
    if engine is None:
        raise EngineError("NVIDIA's builder built no engine from the model; its messages are printed above")
    return bytes(engine)


def profile_shapes(spec: ModelSpec) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Smallest, usual and largest shape of each input; usual: half of the pillars, a third of their places taken."""
    columns = len(spec.point_columns)
    most_pillars = min(spec.max_pillars, spec.grid_size[0] * spec.grid_size[1])
    most_points = most_pillars * spec.max_points_per_pillar
    pillars, points = max(1, most_pillars // 2), max(1, most_points // 6)
    return {
        "points": ((1, columns), (points, columns), (most_points, columns)),
        "slot": ((1,), (points,), (most_points,)),
        "cell": ((1,), (pillars,), (most_pillars,)),
        "count": ((1,), (pillars,), (most_pillars,)),
    }
