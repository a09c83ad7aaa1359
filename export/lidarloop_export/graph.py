"""The torch network as an ONNX graph that ONNX Runtime, TensorRT 8.6 to 11 and TensorRT-RTX all take."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from onnx import version_converter

from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import dimensions, names
from lidarloop_export.clouds import graph_inputs, random_cloud
from lidarloop_training.tasks.export_view import ExportView

OPSET = 17
"""TensorRT 8.6 reads up to 17; in 18 the axes of a reduction became an input, which it silently overlooks."""

FORBIDDEN = (
    "NonZero", "Unique", "Loop", "If", "Scan", "ScatterElements", "NonMaxSuppression", "BatchNormalization",
)  # fmt: skip
"""Operators that some engine rejects, or that were to be folded. Scatters with a reduction are not allowed either."""


def with_raw_maps(view: ExportView) -> bytes:
    """Exports a network, batch norms folded, with the raw maps as further outputs.

    Args:
        view: deployable part of the network.

    Returns:
        The ONNX file; its outputs are those of the spec, then ``view.raw_names``.
    """
    return exported(view, view.spec, [*names(view.spec.output_tensors), *view.raw_names])


def exported(network: torch.nn.Module, spec: ModelSpec, output_names: Sequence[str]) -> bytes:
    """A network, or a part of one, as an ONNX file.

    The varying dimensions of the spec's inputs stay open; all other sizes are fixed.

    Args:
        network: takes the spec's inputs, in their order.
        spec: contract of the model.
        output_names: one name for each tensor that the network returns.
    """
    example = graph_inputs(random_cloud(spec, num_points=500, seed=0), spec)
    varying = {dimension: torch.export.Dim(dimension.name, min=1) for dimension in dimensions(spec.inputs)}
    with _quiet():
        program = torch.onnx.export(
            network.eval(),
            tuple(torch.from_numpy(example[name]) for name in names(spec.inputs)),
            input_names=list(names(spec.inputs)),
            output_names=list(output_names),
            dynamic_shapes=[tuple({0: varying[t.dimension]} if t.dimension else {} for t in spec.inputs)],
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = onnx.load_from_string(program.model_proto.SerializeToString())
    _drop_notes(model)
    model = _to_opset_17(model)
    _check_operators(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def without_raw_maps(network: bytes, spec: ModelSpec) -> bytes:
    """The same graph with the outputs of the spec alone."""
    model = onnx.load_from_string(network)
    kept = [output for output in model.graph.output if output.name in names(spec.output_tensors)]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return bytes(model.SerializeToString())


def _drop_notes(model: Any) -> None:
    """Takes out the exporter's notes: source paths and stack traces of the machine it ran on."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _to_opset_17(model: Any) -> Any:
    """Only the reductions' axes differ between the two for the operators used here."""
    for node in model.graph.node:
        defaults = [a for a in node.attribute if a.name == "noop_with_empty_axes" and a.i == 0]
        for attribute in defaults if node.op_type == "ReduceMax" else ():
            node.attribute.remove(attribute)
    return version_converter.convert_version(model, OPSET)


def _check_operators(model: Any) -> None:
    for node in model.graph.node:
        reductions = [a.s for a in node.attribute if a.name == "reduction" and a.s != b"none"]
        assert node.op_type not in FORBIDDEN, f"the network exports to {node.op_type}"
        assert not reductions, f"the network exports to {node.op_type} with reduction {reductions}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks on its own workings off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
