"""The toy town's degraded masks as a mask model, and as a file of ready-made masks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.io import atomic
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.mask_models.coco_masks import mask_window
from lidarloop_core.sample import CameraImage
from lidarloop_training.toytown.camera import CAMERAS, HEIGHT, WIDTH
from lidarloop_training.toytown.mask_model import DegradedMasks
from lidarloop_training.toytown.masks import InstanceMask


class ToyTownMaskModel:
    """A ``MaskModel`` for the images of one toy-town drive, which fails as a vision model would."""

    class_names: tuple[str, ...] = NUSCENES_CLASSES

    def __init__(self, degraded: DegradedMasks) -> None:
        rates = ", ".join(f"{name} {rate:g}" for name, rate in vars(degraded.rates).items())
        self.name = f"toytown masks of {degraded.drive.scene} ({rates}, seed {degraded.seed})"
        self._degraded = degraded

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        """See ``MaskModel``; the pictures themselves are not looked at.

        Raises:
            DatasetError: the sample is none of the drive.
        """
        index = self._index_of(sample_token)
        return [_as_instance_masks(self._degraded.masks(index, image.name)) for image in images]

    def _index_of(self, sample_token: str) -> int:
        drive = self._degraded.drive
        digits = sample_token.removeprefix(f"{drive.scene}-")
        index = int(digits) if digits.isdecimal() else -1
        if not 0 <= index < len(drive) or sample_token != drive.token(index):
            raise DatasetError(
                f"received sample {sample_token}; expected one of {drive.scene}, whose masks these are: "
                "label that drive itself"
            )
        return index


def _as_instance_masks(masks: Sequence[InstanceMask]) -> InstanceMasks:
    return InstanceMasks(
        np.array([m.box for m in masks], np.float32).reshape(-1, 4),
        np.array([m.score for m in masks], np.float32),
        np.array([m.label for m in masks], np.int64),
        tuple(mask_window({"size": list(m.size), "counts": m.counts}, WIDTH, HEIGHT) for m in masks),
        NUSCENES_CLASSES,
        WIDTH,
        HEIGHT,
    )


def write_masks(degraded: DegradedMasks, path: Path, indices: Iterable[int] | None = None) -> None:
    """Writes a drive's degraded masks as a COCO data set file that ``MasksFile`` and pycocotools read.

    Args:
        degraded: the masks to write.
        path: the JSON file; all of it or nothing.
        indices: positions of samples; all by default.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(len(degraded.drive)) if indices is None else indices:
        token = degraded.drive.token(index)
        for camera in CAMERAS:
            images.append(
                {
                    "id": len(images) + 1,
                    "file_name": f"{token}/{camera.name}",
                    "width": WIDTH,
                    "height": HEIGHT,
                    "sample_token": token,
                    "camera": camera.name,
                }
            )
            for mask in degraded.masks(index, camera.name):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": len(images),
                        "category_id": mask.label + 1,
                        "area": mask.num_pixels,
                        "iscrowd": 0,
                        **mask.as_coco(),
                    }
                )
    categories = [{"id": label, "name": name} for label, name in enumerate(NUSCENES_CLASSES, start=1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    atomic.write_bytes(path, json.dumps(document, separators=(",", ":")).encode())
