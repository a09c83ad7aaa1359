"""A semantic segmentation network in ONNX Runtime as a score model: the class probabilities of every pixel.

This is the network of PointPainting (Vora et al., CVPR 2020, section 3.1): no instances, no boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.mask_models.onnx_adapters import CityscapesSegmenter, Segmenter
from lidarloop_core.labelling.mask_models.onnx_network import OnnxNetwork
from lidarloop_core.labelling.mask_models.onnx_tiles import Window
from lidarloop_core.labelling.painting.score_model import PictureScores
from lidarloop_core.sample import CameraImage

STREET_CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "car": ("car",),
        "truck": ("truck",),
        "bus": ("bus",),
        "pedestrian": ("person", "rider"),
        "motorcycle": ("motorcycle",),
        "bicycle": ("bicycle",),
    }
)
"""nuScenes' classes that Cityscapes has → its names for them; a class's score is the sum of theirs."""


@dataclass(frozen=True)
class ProbabilityMaps:
    """Probabilities in a network's own resolution, spread over a picture.

    Attributes:
        maps: (K, h, w) float32 in [0, 1].
        width, height: size of the picture, pixels.
    """

    maps: npt.NDArray[np.float32]
    width: int
    height: int

    def at(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """See ``PictureScores``: those of the map's cell that each pixel lies in.

        Not interpolated: between an object and what is behind it, the mean of both is neither.
        """
        _, rows, columns = self.maps.shape
        column = np.clip((pixels[:, 0] + 0.5) * columns / self.width, 0, columns - 1).astype(np.int64)
        row = np.clip((pixels[:, 1] + 0.5) * rows / self.height, 0, rows - 1).astype(np.int64)
        found: npt.NDArray[np.float32] = self.maps[:, row, column].T
        return found


class SemanticModel:
    """A ``ScoreModel`` of a segmenter, which sees each picture as one.

    Args:
        segmenter: the network.
        classes: our class → names of the segmenter's classes that are it.

    Raises:
        ConfigError: the network lacks one of the classes.
    """

    def __init__(self, segmenter: Segmenter, classes: Mapping[str, tuple[str, ...]] = STREET_CLASSES) -> None:
        known = segmenter.class_names
        if missing := sorted({name for names in classes.values() for name in names} - set(known)):
            raise ConfigError(f"{segmenter.network.name} received {', '.join(missing)}; it has {', '.join(known)}")
        self.name = segmenter.network.name
        self.class_names = tuple(classes)
        self._segmenter = segmenter
        self._channels = [[known.index(name) for name in names] for names in classes.values()]

    def score(self, sample_token: str, images: Sequence[CameraImage]) -> list[PictureScores]:
        """See ``ScoreModel``; the sample's token is not used."""
        return [self.score_picture(image.load()) for image in images]

    def score_picture(self, picture: npt.NDArray[np.uint8]) -> ProbabilityMaps:
        """The probabilities of a (H, W, 3) uint8 RGB picture."""
        from PIL import Image

        height, width = picture.shape[:2]
        probability = self._segmenter.segment(Image.fromarray(picture), Window(0, 0, width, height))
        maps = np.stack([probability[channels].sum(axis=0) for channels in self._channels])
        return ProbabilityMaps(maps.astype(np.float32), width, height)


def open_semantic_model(
    path: Path, *, providers: Sequence[str] = ("CPUExecutionProvider",), num_threads: int = 1
) -> SemanticModel:
    """Opens a segmenter of Cityscapes' classes, e.g. ESPNetv2.

    Args:
        path: ONNX file.
        providers: execution providers of ONNX Runtime, in order; each must be in use.
        num_threads: number of threads of one run.

    Raises:
        ModelFileError: the file is missing, or of another family.
        BackendError: onnxruntime or a provider is missing.
    """
    return SemanticModel(CityscapesSegmenter(OnnxNetwork(path, providers=providers, num_threads=num_threads)))
