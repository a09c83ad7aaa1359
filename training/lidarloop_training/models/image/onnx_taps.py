"""Feature maps of an ONNX network, tapped by the names of its nodes' outputs: supervised 2D networks as encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BackendError, ConfigError, ModelFileError
from lidarloop_core.inference.onnxruntime_backend import open_session
from lidarloop_core.io import regular_file
from lidarloop_core.io.images import resized
from lidarloop_training.models.image.pictures import imagenet_normalised

_MOST_BYTES = (1 << 31) - 1  # the largest message that protobuf allows

OnnxInput = Literal["rgb-imagenet", "bgr-255", "bgr-1"]
"""How a network takes pictures: RGB less ImageNet's mean, over its deviation; BGR to 255 (YOLOX), to 1 (FastestDet)."""


class OnnxImageEncoder:
    """A network with one picture input (1, 3, H, W) of fixed size, run in ONNX Runtime up to some of its nodes.

    A picture is stretched to the input. See ``ImageEncoder`` for the attributes.

    Args:
        path: the ONNX file.
        taps: names of the values to read, (1, C, h, w) each, finest first.
        colours: how the network takes pictures.

    Raises:
        ModelFileError: no such file, no ONNX, or other inputs.
        ConfigError: onnx is not installed, no tap is named, or the graph has none of that name.
        BackendError: onnxruntime is missing.
    """

    def __init__(self, path: Path, taps: Sequence[str], colours: OnnxInput) -> None:
        try:
            data = regular_file.read_bytes(path, _MOST_BYTES)
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read ({error.strerror}); expected an ONNX file") from None
        self.taps, self.colours = tuple(taps), colours
        about = "\n".join([hashlib.sha256(data).hexdigest(), *self.taps, colours])
        self.sha256 = hashlib.sha256(about.encode()).hexdigest()
        self._session: Any = open_session(_tapped(data, self.taps, path), ("CPUExecutionProvider",), 1, path)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) for n in shape[2:]):
            found = ", ".join(f"{each.name} {each.shape}" for each in inputs)
            raise ModelFileError(
                f"{path} takes {found}; expected one picture of fixed size, (1, 3, H, W): export it so"
            )
        self._input, self.height, self.width = inputs[0].name, int(shape[2]), int(shape[3])
        self.num_channels = sum(map(len, self.maps(np.zeros((self.height, self.width, 3), np.uint8))))

    def maps(self, picture: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """See ``ImageEncoder.maps``.

        Raises:
            BackendError: the runtime failed, or a tap is no map (1, C, h, w).
        """
        seen = self._prepared(resized(picture, self.width, self.height))
        try:
            found = self._session.run(list(self.taps), {self._input: seen[None]})
        except Exception as error:  # onnxruntime raises its own types without a common base
            raise BackendError(f"onnxruntime failed on an image encoder: {error}") from error
        for name, values in zip(self.taps, found, strict=True):
            if values.ndim != 4 or len(values) != 1:
                raise BackendError(
                    f"the image encoder gives {name} {values.shape}; expected a map (1, C, h, w): name another tap"
                )
        return [np.asarray(values[0], np.float32) for values in found]

    def _prepared(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(H, W, 3) uint8 RGB → (3, H, W) float32 as the network takes it."""
        if self.colours == "rgb-imagenet":
            return imagenet_normalised(picture)
        scale = np.float32(255 if self.colours == "bgr-1" else 1)
        return np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)).astype(np.float32) / scale


def _tapped(data: bytes, taps: Sequence[str], path: Path) -> bytes:
    """The file with the tapped values among its outputs."""
    try:
        import onnx
    except ImportError:
        raise ConfigError(
            f"the image encoder {path} needs onnx, which is not installed: pip install lidarloop[export]"
        ) from None
    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf raises its own types
        raise ModelFileError(f"{path} is no ONNX file ({type(error).__name__}); take another") from None
    values = {name for node in model.graph.node for name in node.output}
    if not taps or (missing := [name for name in taps if name not in values]):
        asked = ", ".join(missing) if taps else "no tap"
        maps = [node.output[0] for node in model.graph.node if node.op_type in ("Conv", "Relu", "Concat", "Add")]
        raise ConfigError(
            f"--task.image.taps received {asked} for {path}; expected names of values of its graph, finest first, "
            f"e.g. of {', '.join(maps[:: max(1, len(maps) // 12)])}"
        )
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in taps if name not in known
    )
    tapped: bytes = model.SerializeToString()
    return tapped
