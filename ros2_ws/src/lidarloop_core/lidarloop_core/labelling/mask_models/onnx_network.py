"""A 2D network in ONNX Runtime: one picture in, one tensor out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.inference.onnxruntime_backend import open_session
from lidarloop_core.io import regular_file

_MOST_BYTES = (1 << 31) - 1  # the largest message that protobuf allows

Float32Array = npt.NDArray[np.float32]


class OnnxNetwork:
    """A file with one picture input (1, 3, H, W) float32 of fixed size and one output of interest, its first.

    Args:
        path: the ONNX file.
        providers: execution providers of ONNX Runtime, in order; each must be in use: there is no fall-back.
        num_threads: number of threads of one run; 1 leaves the other cores to other work.

    Attributes:
        path: the ONNX file.
        name: file name and the first digits of its hash.
        width, height: size of the input, pixels.
        output_shape: shape of the output in the file; None for dimensions that vary.

    Raises:
        ModelFileError: no such file, no ONNX, or other inputs.
        BackendError: onnxruntime or a provider is missing.
    """

    def __init__(
        self, path: Path, *, providers: Sequence[str] = ("CPUExecutionProvider",), num_threads: int = 1
    ) -> None:
        self.path = path
        try:
            data = regular_file.read_bytes(path, _MOST_BYTES)
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read ({error.strerror}); expected an ONNX file") from None
        self.name = f"{path.name}@{hashlib.sha256(data).hexdigest()[:12]}"
        self._session = open_session(data, tuple(providers), num_threads, path)
        inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) for n in shape[2:]):
            found = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise ModelFileError(
                f"{path} takes {found}; expected one picture of fixed size, (1, 3, H, W): export it so"
            )
        self._input, self._output = inputs[0].name, output.name
        self.height, self.width = int(shape[2]), int(shape[3])
        self.output_shape = tuple(n if isinstance(n, int) else None for n in output.shape)

    def run(self, picture: Float32Array) -> Float32Array:
        """The first output, without the batch axis, for one input (3, H, W) float32.

        Raises:
            BackendError: the runtime failed.
        """
        try:
            (output,) = self._session.run([self._output], {self._input: picture[None]})
        except Exception as error:  # onnxruntime raises its own types without a common base
            raise BackendError(f"onnxruntime failed on {self.name}: {error}") from error
        result: Any = output[0]
        return np.asarray(result, np.float32)
