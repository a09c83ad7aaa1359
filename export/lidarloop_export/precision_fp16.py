"""float32 → float16 inside the network, with the coordinates left out of it.

TensorRT 11 takes precision from the graph alone, so the casts are written into it. Between the points' features and the
raw tensors that the outputs come from (a head's maps, logits) everything runs in float16; what comes before and after
stays in float32, for reasons of arithmetic:

- before: float16 has steps of 3 cm at 50 m. Offsets to the pillar's mean and centre are differences of such numbers;
  taken in float32 they are exact, and so is the linear layer that reads both. So is the layer by which a segmenter's
  head reads the points.
- after: cell indices, positions and sizes are metres again, the indices of the 200 best exceed float16's 2048, and a
  softmax sums exponentials.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from lidarloop_core.errors import ModelFileError
from lidarloop_core.model.outputs import Detection, Segmentation
from lidarloop_export.edit import Editor

ALLOWED = (
    "Add", "Concat", "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace", "Gather", "GatherND", "Gemm", "MatMul",
    "MaxPool", "ReduceMax", "Relu", "Reshape", "ScatterND", "Slice", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that may run in float16: they neither cancel large numbers nor index with them."""

RAW_NAMES = (*Detection.raw_names, *Segmentation.raw_names)

_LARGEST = float(np.finfo(np.float16).max)


def in_float16(network: bytes) -> bytes:
    """The network with float16 between the points' features and the head's maps; inputs and outputs as before.

    Args:
        network: float32, as ``optimised`` gives it.

    Raises:
        ModelFileError: there are no such features or maps, an operator in between is not among ``ALLOWED``, or a
            weight is too large for float16.
    """
    editor = Editor(network)
    activations = editor.nodes("Relu")
    maps = [name for name in RAW_NAMES if editor.producer(name) is not None]
    if not activations or not maps:
        raise ModelFileError(
            f"fp16 received a model with {len(activations)} ReLU and {len(maps)} of the tensors "
            f"{', '.join(RAW_NAMES)}; expected both, between which float16 is safe: export the model again, or keep it "
            "in fp32"
        )
    features = activations[0].output[0]  # the encoder's
    region = _between(editor, features, maps)
    _check(region)
    for name in maps:  # the rest of the graph reads the maps in float32, under their old names
        made_by = editor.producer(name)
        assert made_by is not None
        inner = f"{name}:float16"
        editor.reroute(name, inner, [node for node in region if name in node.input])
        made_by.output[:] = [inner if tensor == name else tensor for tensor in made_by.output]
        editor.add("Cast", [inner], name, to=TensorProto.FLOAT)
    for tensor in _entering(editor, region):
        cast = editor.add("Cast", [tensor], f"{tensor}:float16", to=TensorProto.FLOAT16)
        editor.reroute(tensor, cast, [node for node in region if tensor in node.input])
    _convert_constants(editor, region)
    return editor.finish()


def _between(editor: Editor, start: str, ends: Iterable[str]) -> list[Any]:
    """Nodes after ``start`` that lead to one of ``ends``, and the empty canvases that they write to."""
    after = _reach([start], editor.consumers, lambda node: node.output)
    before = _reach(list(ends), lambda t: [n for n in [editor.producer(t)] if n is not None], lambda node: node.input)
    names = {node.name for node in after} & {node.name for node in before}
    region = [node for node in editor.nodes() if node.name in names]
    canvases = {tensor for node in region if node.op_type == "ScatterND" for tensor in node.input[:1]}
    empty = [node for node in editor.nodes("ConstantOfShape") if node.output[0] in canvases]
    for node in empty:
        assert len(editor.consumers(node.output[0])) == 1, "an empty canvas is shared between float16 and float32"
    return [*region, *empty]


def _entering(editor: Editor, region: Iterable[Any]) -> list[str]:
    """float32 tensors that a region reads and does not make: the features, and what a head knows of the points."""
    made = {tensor for node in region for tensor in node.output}
    read = dict.fromkeys(tensor for node in region for tensor in node.input)
    return [t for t in read if t not in made and editor.is_float32(t) and editor.constant(t) is None]


def _reach(tensors: list[str], nodes_of: Any, tensors_of: Any) -> list[Any]:
    """Every node met on the way from some tensors, forwards or backwards."""
    found: dict[str, Any] = {}
    while tensors:
        for node in nodes_of(tensors.pop()):
            if node.name not in found:
                found[node.name] = node
                tensors.extend(tensors_of(node))
    return list(found.values())


def _check(region: Iterable[Any]) -> None:
    foreign = sorted({node.op_type for node in region} - set(ALLOWED))
    if foreign:
        raise ModelFileError(
            f"between the points' features and the head's maps the model has {', '.join(foreign)}; expected only "
            f"{', '.join(ALLOWED)}, which are known to be safe in float16: keep this model in fp32"
        )


def _convert_constants(editor: Editor, region: Iterable[Any]) -> None:
    for node in region:
        if node.op_type == "ConstantOfShape":
            del node.attribute[:]
            node.attribute.append(
                helper.make_attribute("value", helper.make_tensor("zero", onnx.TensorProto.FLOAT16, [1], [0.0]))
            )
            continue
        for tensor in list(node.input):
            value = editor.constant(tensor)
            if value is None or value.dtype != np.float32:
                continue
            if not np.abs(value).max(initial=0.0) <= _LARGEST:
                raise ModelFileError(
                    f"weight {tensor} reaches {np.abs(value).max():g}; expected at most {_LARGEST:g}, float16's "
                    "largest number: keep this model in fp32"
                )
            half = editor.add_constant(f"{tensor}:float16", value.astype(np.float16))
            editor.reroute(tensor, half, [node])
