"""Adapters of ONNX network families: preparation of the input, decoding of the output.

A network of one of these families needs no code: give its file. For another family write a class with the same
method: a detector turns a window of a picture into boxes and class scores, a segmenter into class probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ModelFileError
from lidarloop_core.labelling.mask_models.onnx_classes import CITYSCAPES_CLASSES, COCO_CLASSES
from lidarloop_core.labelling.mask_models.onnx_network import OnnxNetwork
from lidarloop_core.labelling.mask_models.onnx_tiles import Window

if TYPE_CHECKING:
    from PIL.Image import Image

Float32Array = npt.NDArray[np.float32]

_YOLOX_STRIDES = (8, 16, 32)
_YOLOX_PADDING = 114  # the grey that the network was trained with beside pictures
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True)
class Candidates:
    """Boxes of a detector in a window, before suppression.

    Attributes:
        boxes: (M, 4) float32 x_min, y_min, x_max, y_max, pixels of the full picture.
        scores: (M, C) float32 in [0, 1], one for each of the detector's classes.
    """

    boxes: Float32Array
    scores: Float32Array


class BoxDetector(Protocol):
    """A detector family.

    Attributes:
        network: the file it runs.
        class_names: names of the scores' columns.
    """

    network: OnnxNetwork
    class_names: tuple[str, ...]

    def detect(self, picture: Image, window: Window) -> Candidates: ...


class Segmenter(Protocol):
    """A semantic segmentation family.

    Attributes:
        network: the file it runs.
        class_names: names of the answer's channels.
    """

    network: OnnxNetwork
    class_names: tuple[str, ...]

    def segment(self, picture: Image, window: Window) -> Float32Array:
        """(C, h, w) probabilities in the network's own resolution, spread over the window."""
        ...


class YoloxDetector:
    """YOLOX as its authors export it: letterboxed at the top left, BGR 0–255, boxes left to be decoded.

    Output (1, A, 5 + C): for each cell of the grids of stride 8, 16, 32, row by row, centre offset in cells, log size
    in cells, objectness and class scores after the sigmoid. See https://github.com/Megvii-BaseDetection/YOLOX.

    Raises:
        ModelFileError: the output has another shape.
    """

    def __init__(self, network: OnnxNetwork, class_names: tuple[str, ...] = COCO_CLASSES) -> None:
        self.network, self.class_names = network, class_names
        self._cells = _grid_cells(network.width, network.height)
        expected = (len(self._cells), 5 + len(class_names))
        if network.output_shape[1:] != expected:
            raise ModelFileError(
                f"{network.path} gives {network.output_shape}; expected (1, {expected[0]}, {expected[1]}) of a YOLOX "
                f"with {len(class_names)} classes: name its classes, or export it without decoding"
            )

    def detect(self, picture: Image, window: Window) -> Candidates:
        """See ``BoxDetector``; M is the number of cells."""
        scale = min(self.network.width / window.width, self.network.height / window.height)
        size = max(round(window.width * scale), 1), max(round(window.height * scale), 1)
        canvas = np.full((self.network.height, self.network.width, 3), _YOLOX_PADDING, np.uint8)
        canvas[: size[1], : size[0]] = _resized(picture, window, *size)
        found = self.network.run(canvas[:, :, ::-1].transpose(2, 0, 1).astype(np.float32))
        stride = self._cells[:, 2:]
        center = (found[:, :2] + self._cells[:, :2]) * stride
        half = np.exp(found[:, 2:4]) * stride / 2
        boxes = np.concatenate([center - half, center + half], axis=1) / np.float32(scale)
        boxes += np.array([window.left, window.top] * 2, np.float32)
        return Candidates(boxes, found[:, 4:5] * found[:, 5:])


def _grid_cells(width: int, height: int) -> Float32Array:
    """(A, 3) column, row and stride of each cell."""
    grids = []
    for stride in _YOLOX_STRIDES:
        row, column = np.mgrid[: height // stride, : width // stride]
        grids.append(np.stack([column, row, np.full_like(row, stride)], axis=-1).reshape(-1, 3))
    cells: Float32Array = np.concatenate(grids).astype(np.float32)
    return cells


class FastestDetector:
    """FastestDet: the window stretched to the input, BGR 0–1; one box for each cell of one grid.

    Output (1, 5 + C, rows, columns): objectness, centre offset before tanh, size before the sigmoid, class scores.
    A box's score is objectness^0.6 · class^0.4. See https://github.com/dog-qiuqiu/FastestDet.

    Raises:
        ModelFileError: the output has another shape.
    """

    def __init__(self, network: OnnxNetwork, class_names: tuple[str, ...] = COCO_CLASSES) -> None:
        self.network, self.class_names = network, class_names
        if len(network.output_shape) != 4 or network.output_shape[1] != 5 + len(class_names):
            raise ModelFileError(
                f"{network.path} gives {network.output_shape}; expected (1, {5 + len(class_names)}, rows, columns) of "
                f"a FastestDet with {len(class_names)} classes: name its classes"
            )

    def detect(self, picture: Image, window: Window) -> Candidates:
        """See ``BoxDetector``; M is the number of cells."""
        seen = _resized(picture, window, self.network.width, self.network.height)
        found = self.network.run(seen[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / 255)
        rows, columns = found.shape[1:]
        row, column = np.mgrid[:rows, :columns]
        center = np.stack([(np.tanh(found[1]) + column) / columns, (np.tanh(found[2]) + row) / rows], axis=-1)
        half = 0.5 / (1 + np.exp(-found[3:5].transpose(1, 2, 0)))
        size = np.array([window.width, window.height] * 2, np.float32)
        boxes = np.concatenate([center - half, center + half], axis=-1).reshape(-1, 4) * size
        boxes += np.array([window.left, window.top] * 2, np.float32)
        scores = found[0] ** 0.6 * found[5:] ** 0.4
        return Candidates(boxes.astype(np.float32), scores.reshape(len(self.class_names), -1).T)


class CityscapesSegmenter:
    """ESPNetv2 and its like: the window stretched to the input, RGB 0–1 less ImageNet's mean and over its deviation.

    Output (1, C, h, w): logits of Cityscapes' classes in the order of their training ids; further channels, such as
    ESPNetv2's last for everything else, belong to no class but take their part of the probability.

    Raises:
        ModelFileError: the output has another shape.
    """

    def __init__(self, network: OnnxNetwork, class_names: tuple[str, ...] = CITYSCAPES_CLASSES) -> None:
        self.network, self.class_names = network, class_names
        channels = network.output_shape[1] if len(network.output_shape) == 4 else None
        if channels is None or channels < len(class_names):
            raise ModelFileError(
                f"{network.path} gives {network.output_shape}; expected (1, ≥ {len(class_names)}, h, w) logits"
            )

    def segment(self, picture: Image, window: Window) -> Float32Array:
        """See ``Segmenter``."""
        seen = _resized(picture, window, self.network.width, self.network.height).astype(np.float32) / 255
        logits = self.network.run(((seen - _IMAGENET_MEAN) / _IMAGENET_STD).transpose(2, 0, 1))
        weight = np.exp(logits - logits.max(axis=0))
        probability: Float32Array = weight[: len(self.class_names)] / weight.sum(axis=0)
        return probability


def detector_of(network: OnnxNetwork, class_names: tuple[str, ...] = COCO_CLASSES) -> BoxDetector:
    """The detector family with this shape of output.

    Raises:
        ModelFileError: no family has it.
    """
    if len(network.output_shape) == 3:
        return YoloxDetector(network, class_names)
    return FastestDetector(network, class_names)


def _resized(picture: Image, window: Window, width: int, height: int) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8 of a window, smoothed where it shrinks."""
    from PIL.Image import Resampling

    return np.asarray(picture.resize((width, height), Resampling.BILINEAR, box=window))
