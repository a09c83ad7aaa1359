"""The exported graph without work that changes no box: what every precision starts from.

Each pass is exact up to the rounding of float32. Batch norms are folded by the export already.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxslim

from lidarloop_export.edit import Editor, attributes_of

_LARGEST_FOLDED_BYTES = 4096
"""onnxslim stores no computed constant above this: a folded empty canvas would be 17 MB."""


def optimised(network: bytes) -> bytes:
    """Common subexpressions and dead nodes out, divisions made plain, the columns' scale folded into the weights."""
    slim = onnxslim.slim(onnx.load_from_string(network), size_threshold=_LARGEST_FOLDED_BYTES)
    editor = Editor(slim.SerializeToString())
    del editor.model.metadata_props[:]  # the seal and the spec of the file it came from
    _plain_divisions(editor)
    _fold_column_scale(editor)
    return editor.finish()


def _plain_divisions(editor: Editor) -> None:
    """Floor division as the exporter writes it puts negative quotients right; indices are never negative.

    ``Sub(Div(x, n), Cast(And(…)))`` of integers becomes ``Div(x, n)``.
    """
    for subtraction in editor.nodes("Sub"):
        quotient, correction = (
            editor.made_by(tensor, kind) for tensor, kind in zip(subtraction.input, ("Div", "Cast"), strict=True)
        )
        if quotient is None or correction is None or editor.made_by(correction.input[0], "And") is None:
            continue
        floored, exact = subtraction.output[0], quotient.output[0]
        editor.remove(subtraction)
        quotient.output[0] = floored
        editor.reroute(exact, floored)


def _fold_column_scale(editor: Editor) -> None:
    """``Gemm(Concat(points × scale, …), W)`` becomes ``Gemm(Concat(points, …), W × scale)``."""
    for gemm in editor.nodes("Gemm"):
        joined, weight = editor.made_by(gemm.input[0], "Concat"), editor.constant(gemm.input[1])
        if joined is None or weight is None or attributes_of(gemm).get("transB") != 1:
            continue
        scaled = editor.made_by(joined.input[0], "Mul")
        scale = None if scaled is None else editor.constant(scaled.input[1])
        if scaled is None or scale is None or scale.ndim != 1 or len(editor.consumers(scaled.output[0])) > 1:
            continue
        weight[:, : len(scale)] *= scale
        editor.add_constant(gemm.input[1], weight)
        joined.input[0] = scaled.input[0]


def deconvolutions_as_convolutions(editor: Editor) -> None:
    """A transposed convolution whose kernel is its stride is a 1×1 convolution and a rearrangement.

    ONNX Runtime has integer kernels for the one and not for the other. The rearrangement is written with channels last,
    as those kernels leave their results: whole rows of channels move, and its transposes cancel theirs.
    """
    for node in editor.nodes("ConvTranspose"):
        weight, bias = editor.constant(node.input[1]), editor.constant(node.input[2])
        attributes = attributes_of(node)
        assert weight is not None
        assert bias is not None
        channels_in, channels_out, size, _ = weight.shape
        if list(attributes["strides"]) != [size, size] or any(attributes.get("pads", [0])):
            continue
        # Channel (i·s + j)·channels_out + co of the convolution is place (i, j) of channel co.
        deep = weight.transpose(2, 3, 1, 0).reshape(channels_out * size**2, channels_in, 1, 1)
        inputs = [
            node.input[0],
            editor.add_constant(node.input[1], deep),
            editor.add_constant(node.input[2], np.tile(bias, size**2)),
        ]
        output = node.output[0]
        height, width = editor.image_size(output)
        editor.remove(node)
        if size == 1:
            editor.add("Conv", inputs, output, kernel_shape=[1, 1])
            continue
        editor.add("Conv", inputs, f"{output}:deep", kernel_shape=[1, 1])
        places = [1, height // size, width // size, size, size, channels_out]
        tensor = editor.add("Transpose", [f"{output}:deep"], f"{output}:last", perm=[0, 2, 3, 1])
        tensor = editor.reshape(tensor, places, f"{output}:places")
        tensor = editor.add("Transpose", [tensor], f"{output}:rows", perm=[0, 1, 3, 2, 4, 5])
        tensor = editor.reshape(tensor, [1, height, width, channels_out], f"{output}:map")
        editor.add("Transpose", [tensor], output, perm=[0, 3, 1, 2])
