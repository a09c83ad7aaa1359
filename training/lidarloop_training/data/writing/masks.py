"""Instance masks of a toy-town drive as a COCO data set file, which pycocotools opens."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.io import atomic
from lidarloop_core.io.images import EncodedImage, encode_jpeg
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.masks import InstanceMask


class MaskedDrive:
    """A toy-town drive whose pictures bring their masks along, so that each is rendered once, in whatever process."""

    def __init__(self, drive: ToyTownDrive) -> None:
        self._drive = drive

    def __len__(self) -> int:
        return len(self._drive)

    @property
    def keys(self) -> Sequence[SampleKey]:
        return self._drive.keys

    def __getitem__(self, index: int) -> Sample:
        sample = self._drive[index]
        cameras = [dataclasses.replace(c, load=_MaskedPicture(self._drive, index, c)) for c in sample.cameras]
        return dataclasses.replace(sample, cameras=tuple(cameras))

    def annotations(self, index: int) -> Annotations:
        return self._drive.annotations(index)

    def pose(self, index: int) -> LidarPose:
        return self._drive.pose(index)


@dataclass(frozen=True)
class _EncodedWithMasks(EncodedImage):
    masks: tuple[InstanceMask, ...]


@dataclass(frozen=True)
class _MaskedPicture:
    drive: ToyTownDrive
    index: int
    camera: CameraImage

    def __call__(self) -> npt.NDArray[np.uint8]:
        return self.camera.load()

    def encoded(self) -> EncodedImage:
        picture = encode_jpeg(self.camera.load())
        return _EncodedWithMasks(picture.data, picture.format, self.drive.instance_masks(self.index, self.camera.name))


class CocoMasks:
    """Collects the masks of a ``MaskedDrive``'s samples.

    Args:
        sample_token: the token a sample has in the bag or the tables that the masks go with.
        file_name: where a sample's picture is in them.
    """

    def __init__(self, sample_token: Callable[[Sample], str], file_name: Callable[[Sample, CameraImage], str]) -> None:
        self._sample_token = sample_token
        self._file_name = file_name
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, sample: Sample) -> None:
        """Adds a sample's pictures and their masks."""
        for image in sample.cameras:
            assert isinstance(image.load, _EncodedWithMasks)
            self._images.append(
                {
                    "id": len(self._images) + 1,
                    "file_name": self._file_name(sample, image),
                    "width": image.width,
                    "height": image.height,
                    "sample_token": self._sample_token(sample),
                    "camera": image.name,
                }
            )
            self._annotations += [self._annotation(i, mask) for i, mask in enumerate(image.load.masks, start=1)]

    def _annotation(self, number: int, mask: InstanceMask) -> dict[str, Any]:
        return {
            "id": len(self._annotations) + number,
            "image_id": len(self._images),
            "category_id": mask.label + 1,
            "area": mask.num_pixels,
            "iscrowd": 0,
            **mask.as_coco(),
        }

    def write(self, path: Path) -> None:
        """Writes the file, all of it or nothing."""
        categories = [{"id": i, "name": name} for i, name in enumerate(NUSCENES_CLASSES, start=1)]
        document = {"images": self._images, "annotations": self._annotations, "categories": categories}
        atomic.write_bytes(path, json.dumps(document, separators=(",", ":")).encode())
