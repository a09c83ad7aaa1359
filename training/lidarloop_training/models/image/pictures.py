"""Pictures as image encoders take them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def imagenet_normalised(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(H, W, 3) uint8 RGB → (3, H, W) float32 in [0, 1] less ImageNet's mean, over its standard deviation."""
    values = (picture.astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return np.ascontiguousarray(values.transpose(2, 0, 1))
