"""Samples' pictures → pairs of crops, and places that both show: a torch data set.

What is random about an example depends on (seed, epoch, sample index) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lidarloop_core.io.images import resized
from lidarloop_core.sample import SampleSource
from lidarloop_training.models.image.pictures import imagenet_normalised
from lidarloop_training.ranges import check_ranges
from lidarloop_training.tasks.pretext.image_features import no_pictures
from lidarloop_training.tasks.task import ExampleKey, Examples

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class CropConfig:
    """Random crops of a picture, and changes of their colours.

    Attributes:
        size: side of a crop as the network takes it, pixels.
        min_scale: smallest side of a crop, as a share of the picture's height; the largest is 1.
        num_places: number of places, in both crops, that are compared.
        flip: probability of mirroring a crop.
        brightness, contrast, saturation: largest relative change of each.
        grey: probability of a crop without colours.
    """

    size: int = 128
    min_scale: float = 0.4
    num_places: int = 64
    flip: float = 0.5
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    grey: float = 0.1

    def __post_init__(self) -> None:
        check_ranges(
            "CropConfig",
            size=(self.size, 16, 4096),
            min_scale=(self.min_scale, 0.05, 1),
            num_places=(self.num_places, 1, 10**5),
            flip=(self.flip, 0, 1),
            brightness=(self.brightness, 0, 0.9),
            contrast=(self.contrast, 0, 0.9),
            saturation=(self.saturation, 0, 0.9),
            grey=(self.grey, 0, 1),
        )


class Crop(NamedTuple):
    """A square of a picture.

    Attributes:
        left, top, side: its place in the picture, pixels.
        is_flipped: whether it is mirrored.
    """

    left: int
    top: int
    side: int
    is_flipped: bool


class CropPair(NamedTuple):
    """Two crops of one picture.

    Attributes:
        crops: (2, 3, S, S) float32, normalised by ImageNet's mean and deviation.
        places: (2, P, 2) float32 (x, y) of the same P places in each crop, from -1 at its left and upper edges to 1.
    """

    crops: npt.NDArray[np.float32]
    places: npt.NDArray[np.float32]


class CropBatch(NamedTuple):
    """Pairs of crops of B pictures: (2, B, 3, S, S) and (2, B, P, 2)."""

    crops: Tensor
    places: Tensor

    def to(self, device: torch.device) -> CropBatch:
        """The batch on another device."""
        return CropBatch(self.crops.to(device), self.places.to(device))


class CropDataset(Examples[CropPair]):
    """Pairs of crops by ``ExampleKey``: of one camera of the sample, another one in each epoch.

    Args:
        source: samples with pictures.
        config: crops and changes.
        seed: seed for all random choices.
    """

    def __init__(self, source: SampleSource, config: CropConfig, seed: int) -> None:
        self.source, self.config, self.seed = source, config, seed

    def __len__(self) -> int:
        return len(self.source)

    def token(self, sample: int) -> str:
        return self.source.keys[sample].token

    def __getitem__(self, key: ExampleKey) -> CropPair:
        """One pair.

        Raises:
            DatasetError: the sample has no pictures, or one cannot be read.
        """
        cameras = self.source[key.sample].cameras
        if not cameras:
            raise no_pictures(self.source)
        rng = np.random.default_rng((self.seed, key.epoch, key.sample))
        return crop_pair(cameras[rng.integers(len(cameras))].load(), self.config, rng)


def crop_pair(picture: npt.NDArray[np.uint8], config: CropConfig, rng: np.random.Generator) -> CropPair:
    """Two random crops of a picture (H, W, 3) that share a region, and places in it."""
    height, width = picture.shape[:2]
    middle = rng.uniform((0, 0), (width, height))  # both crops show it
    pair = [draw_crop((width, height), middle, config, rng) for _ in range(2)]
    low = np.max([(crop.left, crop.top) for crop in pair], axis=0)
    high = np.min([(crop.left + crop.side, crop.top + crop.side) for crop in pair], axis=0)
    places = rng.uniform(low, high, (config.num_places, 2))
    return CropPair(
        np.stack([_seen(picture, crop, config, rng) for crop in pair]),
        np.stack([place_in_crop(places, crop) for crop in pair]),
    )


def draw_crop(
    size: tuple[int, int], middle: npt.NDArray[np.float64], config: CropConfig, rng: np.random.Generator
) -> Crop:
    """A random square of a picture of this width and height, pixels, that shows the place ``middle`` (2,) as (x, y)."""
    width, height = size
    side = max(1, round(min(width, height) * rng.uniform(config.min_scale, 1)))
    corner = []
    for place, extent in zip(middle, size, strict=True):
        low, high = max(0, int(np.ceil(place)) - side), min(extent - side, int(place))
        corner.append(int(rng.integers(low, max(low, high) + 1)))
    return Crop(corner[0], corner[1], side, bool(rng.random() < config.flip))


def place_in_crop(places: npt.NDArray[np.float64], crop: Crop) -> npt.NDArray[np.float32]:
    """(P, 2) places in the picture, pixels from its left and upper edge → in the crop, from -1 to 1."""
    inside = (places - (crop.left, crop.top)) / crop.side * 2 - 1
    if crop.is_flipped:
        inside[:, 0] *= -1
    return inside.astype(np.float32)


def collate(examples: Sequence[CropPair]) -> CropBatch:
    """One batch of examples, at least one."""
    crops, places = (torch.from_numpy(np.stack(values, axis=1)) for values in zip(*examples, strict=True))
    return CropBatch(crops, places)


def _seen(
    picture: npt.NDArray[np.uint8], crop: Crop, config: CropConfig, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """(3, S, S) float32 of a crop, mirrored, with changed colours, normalised."""
    part = picture[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    part = resized(np.ascontiguousarray(part), config.size, config.size)
    part = part[:, ::-1] if crop.is_flipped else part
    values = part.astype(np.float32)
    values = values * _factor(config.brightness, rng)
    values = values.mean() + (values - values.mean()) * _factor(config.contrast, rng)
    grey = (values @ _LUMA)[..., None]
    saturation, is_grey = _factor(config.saturation, rng), rng.random() < config.grey
    values = grey + (values - grey) * (0 if is_grey else saturation)
    return imagenet_normalised(np.clip(values, 0, 255).astype(np.uint8))


def _factor(most: float, rng: np.random.Generator) -> np.float32:
    return np.float32(1 + rng.uniform(-1, 1) * most)
