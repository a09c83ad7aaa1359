"""A network's roofline on a device, its least time: arithmetic over the arithmetic rate, or bytes over bandwidth.

Source: the roofline model, Williams et al., Communications of the ACM 52(4), 2009. Counted are convolutions and linear
layers; every map is read once and written once, which a fused network can undercut and others exceed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from lidarloop_core.errors import BackendError


@dataclass(frozen=True)
class Cost:
    """The work of a network for one cloud.

    Attributes:
        flops: number of multiplications and additions.
        num_bytes: bytes of weights and maps moved, in the types that the file gives them.
    """

    flops: int
    num_bytes: int


@dataclass(frozen=True)
class Rates:
    """The highest rates of a device, from its maker's data sheet.

    Attributes:
        tflops: precision → dense arithmetic, 10¹² operations a second; fp32 is TF32 where the device has it.
        gbps: memory bandwidth, 10⁹ bytes a second.
    """

    tflops: dict[str, float]
    gbps: float


DEVICES = {
    "H200": Rates({"fp32": 494.0, "fp16": 989.0, "int8": 1979.0}, 4800.0),
    "H100": Rates({"fp32": 494.0, "fp16": 989.0, "int8": 1979.0}, 3350.0),
    "A100": Rates({"fp32": 156.0, "fp16": 312.0, "int8": 624.0}, 2039.0),
    "A30": Rates({"fp32": 82.0, "fp16": 165.0, "int8": 330.0}, 933.0),
    "L4": Rates({"fp32": 60.0, "fp16": 121.0, "int8": 242.0}, 300.0),
}
"""Rates by a part of the name that the driver reports; SXM versions where there are several."""


def rates_of(device: str) -> Rates | None:
    """The rates of a device, by its name; None for one that is not listed."""
    return next((rates for name, rates in DEVICES.items() if name in device.replace("-", " ").split()), None)


def roofline_ms(cost: Cost, rates: Rates, precision: str) -> float:
    """The least time of a network, milliseconds: that of arithmetic or of memory, whichever is longer."""
    return max(cost.flops / (rates.tflops[precision] * 1e9), cost.num_bytes / (rates.gbps * 1e6))


def network_cost(onnx_bytes: bytes, input_shapes: Mapping[str, tuple[int, ...]]) -> Cost:
    """Counts a network's work for a cloud.

    Args:
        onnx_bytes: the network.
        input_shapes: name of an input → its shape for that cloud.

    Raises:
        BackendError: the onnx package is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError(
            f"the roofline is counted from the graph, and onnx cannot be imported ({error}); install it: "
            "pip install onnx"
        ) from None
    model = onnx.load_from_string(onnx_bytes)
    for value in model.graph.input:
        for axis, size in zip(value.type.tensor_type.shape.dim, input_shapes[value.name], strict=True):
            axis.dim_value = size
    return _cost(onnx, onnx.shape_inference.infer_shapes(model, data_prop=True).graph)


def _cost(onnx: Any, graph: Any) -> Cost:
    """The cost of a graph whose shapes are known."""
    shapes = {v.name: _shape(v) for v in (*graph.value_info, *graph.input, *graph.output)}
    sizes = {v.name: _item_bytes(onnx, v.type.tensor_type.elem_type) for v in (*graph.value_info, *graph.input)}
    weights = {w.name: tuple(w.dims) for w in graph.initializer}
    stored = {w.name: _item_bytes(onnx, w.data_type) for w in graph.initializer}
    dequantised = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    flops = num_bytes = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        source, weight = (dequantised.get(name, name) for name in node.input[:2])
        out = node.output[0]
        if weight not in weights or out not in shapes:
            continue
        macs = prod(weights[weight]) * _positions(node.op_type, shapes[node.input[0]], shapes[out])
        flops += 2 * macs
        num_bytes += prod(weights[weight]) * stored[weight]
        num_bytes += prod(shapes[node.input[0]]) * sizes.get(source, 4) + prod(shapes[out]) * sizes.get(out, 4)
    return Cost(flops, num_bytes)


def _positions(kind: str, source: tuple[int, ...], out: tuple[int, ...]) -> int:
    """Number of uses of each weight: places of the output, or of the input for a transposed convolution."""
    if kind in ("Gemm", "MatMul"):
        return prod(out[:-1])
    return prod((source if kind == "ConvTranspose" else out)[2:])


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def _item_bytes(onnx: Any, kind: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize) if kind else 4
