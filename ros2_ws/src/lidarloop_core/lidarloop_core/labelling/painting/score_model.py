"""Score models: 2D networks that give class scores anywhere in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.sample import CameraImage


class PictureScores(Protocol):
    """Class scores of one picture.

    Attributes:
        width, height: size of the picture, pixels.
    """

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def at(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(V, K) float32 scores in [0, 1] at (V, 2) pixels (u, v) of the picture."""
        ...


class ScoreModel(Protocol):
    """A 2D network that scores pixels.

    Attributes:
        name: description for provenance: model ids or file hashes.
        class_names: K names of the scores' columns.
    """

    name: str
    class_names: tuple[str, ...]

    def score(self, sample_token: str, images: Sequence[CameraImage]) -> list[PictureScores]:
        """Scores of each picture.

        Args:
            sample_token: token of the sample with these pictures.
            images: the pictures to look at.
        """
        ...


@dataclass(frozen=True)
class MaskScores:
    """Scores by instance masks: a pixel has the best score of each class's masks that cover it.

    Attributes:
        masks: what was found in the picture.
    """

    masks: InstanceMasks

    @property
    def width(self) -> int:
        return self.masks.width

    @property
    def height(self) -> int:
        return self.masks.height

    def at(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(V, 2) pixels → (V, K) scores, see ``PictureScores``; a mask's score that is not finite counts as 0."""
        masks = self.masks
        scores = np.zeros((len(pixels), len(masks.class_names)), np.float32)
        strength = np.clip(np.nan_to_num(masks.scores, posinf=1.0), 0, 1)
        for mask, score, label in zip(masks.masks, strength, masks.labels, strict=True):
            covered = mask.covers(pixels)
            scores[covered, label] = np.maximum(scores[covered, label], score)
        return scores


class MaskScoreModel:
    """A mask model as a score model.

    Args:
        masks: finds instances; its classes are the scores'.
    """

    def __init__(self, masks: MaskModel) -> None:
        self.name, self.class_names = masks.name, masks.class_names
        self._masks = masks

    def score(self, sample_token: str, images: Sequence[CameraImage]) -> list[PictureScores]:
        """See ``ScoreModel``."""
        return [MaskScores(found) for found in self._masks.find(sample_token, images)]
