"""float32 → int8 where it does no harm: explicit quantise/dequantise pairs, calibrated and chosen on a drive.

Only convolutions are quantised, weights per output channel. Which of them is decided by measurement: each alone is
quantised, the error it makes in the head's maps is taken, and the worst stay in float32 until what the others add up to
is small enough. The two runtimes need different forms:

- ``cpu``: ONNX Runtime's integer convolution: activations uint8, weights int8, bias int32, output quantised too. Also
  the points' features, which spares most of the memory traffic of the maximum over each pillar.
- ``gpu``: TensorRT's explicit quantisation, which has no zero points: activations and weights int8, bias float.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, section 2; post-training form: Krishnamoorthi, arXiv:1806.08342, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper

from lidarloop_core.errors import ConfigError
from lidarloop_export.edit import Editor
from lidarloop_export.optimise import deconvolutions_as_convolutions
from lidarloop_training.models.heads.center import HeadOutput

Form = Literal["cpu", "gpu"]
Inputs = Mapping[str, npt.NDArray[Any]]

RAW_NAMES = HeadOutput._fields
"""The head's maps, by their names in the graph."""

ERROR_BUDGET = 0.12
"""Of the head's maps, as ``layer_errors`` measures it; tried on the toy town: costs less than 0.5 points of mAP."""

_LIVELY_SCORE = 0.1
"""Cells where the float32 network scores less have no box whose error matters: the detector's own threshold."""


@dataclass(frozen=True)
class Quantised:
    """A quantised network.

    Attributes:
        network: ONNX.
        errors: layer, by the name of its weights → the error it makes alone, smallest first.
        in_float: the layers left in float32.
    """

    network: bytes
    errors: dict[str, float]
    in_float: tuple[str, ...]


def quantised(network: bytes, calibration: Sequence[Inputs], form: Form, *, budget: float = ERROR_BUDGET) -> Quantised:
    """Quantises the convolutions of a network that can take it.

    Args:
        network: float32, as ``optimised`` gives it.
        calibration: graph inputs of clouds that the ranges are taken from and the errors measured on.
        form: what the result is for.
        budget: error allowed in the head's maps; 0 leaves all in float32.

    Raises:
        ConfigError: no cloud to calibrate on.
    """
    if not calibration:
        raise ConfigError("quantising received no cloud; expected some of a drive to calibrate on: give --calibrate")
    if form == "cpu":
        editor = Editor(network)
        deconvolutions_as_convolutions(editor)
        network = editor.finish()
    ranges = _ranges(network, calibration)
    truth = _raw_maps(network, calibration)
    layers = [node.input[1] for node in _convolutions(Editor(network))]
    if form == "cpu" and (pillars := _pillars(Editor(network))) is not None:
        layers.insert(0, pillars.features)
    errors = {
        layer: _error(truth, _raw_maps(_with_pairs(network, [layer], ranges, form), calibration)) for layer in layers
    }
    errors = dict(sorted(errors.items(), key=lambda item: item[1]))
    # Errors of different layers are unlike each other, so their squares add up.
    total = np.sqrt(np.cumsum(np.square(list(errors.values()))))
    chosen = [layer for layer, error in zip(errors, total, strict=True) if error <= budget]
    result = _with_pairs(network, [layer for layer in layers if layer in chosen], ranges, form)
    return Quantised(result, errors, tuple(layer for layer in layers if layer not in chosen))


def _convolutions(editor: Editor) -> list[Any]:
    """Those whose weights are stored; the one-by-one layers that end in the head's maps are small and stay exact."""
    found = [n for n in editor.nodes("Conv", "ConvTranspose") if editor.constant(n.input[1]) is not None]
    return [n for n in found if not _ends_in_raw_map(editor, n)]


def _ends_in_raw_map(editor: Editor, node: Any) -> bool:
    """Whether no other convolution lies between this one and a map of the head."""
    tensors = list(node.output)
    while tensors:
        tensor = tensors.pop()
        if tensor in RAW_NAMES:
            return True
        for reader in editor.consumers(tensor):
            if reader.op_type not in ("Conv", "ConvTranspose"):
                tensors.extend(reader.output)
    return False


class _Pillars(NamedTuple):
    """Where the points' features go to their places and the maximum over each pillar is taken."""

    features: str
    scatter: Any
    maximum: Any


def _pillars(editor: Editor) -> _Pillars | None:
    for maximum in editor.nodes("ReduceMax"):
        reshape = editor.producer(maximum.input[0])
        scatter = None if reshape is None else editor.producer(reshape.input[0])
        if scatter is not None and scatter.op_type == "ScatterND":
            return _Pillars(scatter.input[2], scatter, maximum)
    return None


def _quantise_pillars(editor: Editor, pillars: _Pillars, high: float) -> None:
    """Features ≥ 0 as uint8 without a zero point: empty places stay 0, and quantising keeps the order of values."""
    features, maximum = pillars.features, pillars.maximum.output[0]
    scale = editor.add_constant(f"{features}:scale", np.array(max(high, 1e-6) / 255, np.float32))
    zero = editor.add_constant(f"{features}:zero", np.zeros((), np.uint8))
    empty = editor.producer(pillars.scatter.input[0])
    assert empty is not None
    nothing = helper.make_tensor("nothing", onnx.TensorProto.UINT8, [1], [0])
    readers = editor.consumers(maximum)
    pillars.scatter.input[0] = editor.add("ConstantOfShape", empty.input, f"{features}:empty", value=nothing)
    pillars.scatter.input[2] = editor.add("QuantizeLinear", [features, scale, zero], f"{features}:quantised")
    editor.add("DequantizeLinear", [maximum, scale, zero], f"{maximum}:dequantised")
    editor.reroute(maximum, f"{maximum}:dequantised", readers)


def _after_relu(editor: Editor, tensor: str) -> str:
    """Where a layer's output is quantised: after its ReLU, if that is all that reads it."""
    readers = editor.consumers(tensor)
    return str(readers[0].output[0]) if len(readers) == 1 and readers[0].op_type == "Relu" else tensor


def _ranges(network: bytes, calibration: Sequence[Inputs]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value seen of every tensor that could be quantised."""
    editor = Editor(network)
    tensors = {t for n in _convolutions(editor) for t in (n.input[0], _after_relu(editor, n.output[0]))}
    if (pillars := _pillars(editor)) is not None:
        tensors.add(pillars.features)
    names = sorted(tensors)
    editor.expose(names)
    lows, highs = np.zeros(len(names)), np.zeros(len(names))  # zero is always representable
    for values in _run(editor.finish(), calibration, names):
        lows = np.minimum(lows, [value.min() for value in values])
        highs = np.maximum(highs, [value.max() for value in values])
    return {name: (float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)}


def _raw_maps(network: bytes, clouds: Sequence[Inputs]) -> list[list[npt.NDArray[Any]]]:
    editor = Editor(network)
    editor.expose(RAW_NAMES)
    return _run(editor.finish(), clouds, RAW_NAMES)


def _run(network: bytes, clouds: Sequence[Inputs], names: Sequence[str]) -> list[list[npt.NDArray[Any]]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    return [session.run(list(names), dict(cloud)) for cloud in clouds]


def _error(truth: list[list[npt.NDArray[Any]]], found: list[list[npt.NDArray[Any]]]) -> float:
    """Root mean square of the change where the float32 network detects something, in units of the spread there.

    Logits and regressions count alike, whatever their units.
    """
    shares = []
    for exact, changed in zip(_lively(truth, truth), _lively(truth, found), strict=True):
        shares.append(np.square(changed - exact).mean() / max(exact.var(), 1e-12) if len(exact) else 0.0)
    return float(np.sqrt(np.mean(shares)))


def _lively(
    truth: list[list[npt.NDArray[Any]]], maps: list[list[npt.NDArray[Any]]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Logits and regressions of ``maps``, over all clouds, at cells where ``truth`` detects something."""
    logits, regressions = [], []
    for (exact, _), (heatmap, regression) in zip(truth, maps, strict=True):
        is_lively = exact > np.log(_LIVELY_SCORE / (1 - _LIVELY_SCORE))
        logits.append(heatmap[is_lively])
        regressions.append(regression[..., is_lively.any(axis=(0, 1))].ravel())
    return np.concatenate(logits).astype(np.float64), np.concatenate(regressions).astype(np.float64)


def _with_pairs(network: bytes, layers: Sequence[str], ranges: Mapping[str, tuple[float, float]], form: Form) -> bytes:
    """The network with the given layers between quantise/dequantise pairs."""
    editor = Editor(network)
    pillars = _pillars(editor)
    if pillars is not None and pillars.features in layers:
        _quantise_pillars(editor, pillars, ranges[pillars.features][1])
    chosen = [node for node in editor.nodes("Conv", "ConvTranspose") if node.input[1] in layers]
    scales: dict[str, float] = {}
    outputs = [_after_relu(editor, node.output[0]) for node in chosen] if form == "cpu" else []
    for tensor in dict.fromkeys([*(node.input[0] for node in chosen), *outputs]):
        # What stays in float32 reads what it read before, unless that exists in integers alone.
        readers = [n for n in editor.consumers(tensor) if tensor in outputs or n in chosen]
        low, high = ranges[tensor]
        scale, zero = _unsigned(low, high) if form == "cpu" else _signed(low, high)
        scales[tensor] = scale
        editor.reroute(tensor, _pair(editor, tensor, np.float32(scale), zero), readers)
    for node in chosen:
        source = node.input[0].removesuffix(":dequantised")
        _quantise_weights(editor, node, scales[source], with_bias=form == "cpu")
    return editor.finish()


def _unsigned(low: float, high: float) -> tuple[float, np.uint8]:
    scale = max(high - low, 1e-6) / 255
    return scale, np.uint8(round(-low / scale))


def _signed(low: float, high: float) -> tuple[float, np.int8]:
    return max(-low, high, 1e-6) / 127, np.int8(0)


def _pair(editor: Editor, tensor: str, scale: np.float32, zero: np.uint8 | np.int8) -> str:
    """Quantises a tensor and back; returns the name of the result."""
    parameters = [
        editor.add_constant(f"{tensor}:scale", np.asarray(scale)),
        editor.add_constant(f"{tensor}:zero", np.asarray(zero)),
    ]
    editor.add("QuantizeLinear", [tensor, *parameters], f"{tensor}:quantised")
    return editor.add("DequantizeLinear", [f"{tensor}:quantised", *parameters], f"{tensor}:dequantised")


def _quantise_weights(editor: Editor, node: Any, input_scale: float, *, with_bias: bool) -> None:
    """Stores int8 weights, one scale per output channel; the bias as int32 in steps of input × weight scale."""
    name, bias_name = node.input[1], node.input[2]
    weight, bias = editor.constant(name), editor.constant(bias_name)
    assert weight is not None
    assert bias is not None
    axis = 0 if node.op_type == "Conv" else 1
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.maximum(np.abs(weight).max(axis=others), 1e-8).astype(np.float32) / np.float32(127)
    if with_bias:
        # int32 cannot hold a bias many times its weights: they then take a coarser step.
        scale = np.maximum(scale, np.abs(bias).astype(np.float32) / np.float32(2**30 * input_scale))
    steps = np.rint(weight / np.expand_dims(scale, others)).clip(-127, 127).astype(np.int8)
    node.input[1] = _dequantised(editor, name, steps, scale, axis)
    if with_bias:
        bias_scale = (scale * np.float32(input_scale)).astype(np.float32)
        node.input[2] = _dequantised(editor, bias_name, np.rint(bias / bias_scale).astype(np.int32), bias_scale, 0)


def _dequantised(editor: Editor, name: str, steps: npt.NDArray[Any], scale: npt.NDArray[np.float32], axis: int) -> str:
    inputs = [
        editor.add_constant(f"{name}:steps", steps),
        editor.add_constant(f"{name}:scale", scale),
        editor.add_constant(f"{name}:zero", np.zeros(len(scale), steps.dtype)),
    ]
    return editor.add("DequantizeLinear", inputs, f"{name}:dequantised", axis=axis)
