"""Feature maps of a sample's pictures by a frozen encoder, computed once and kept.

A sample's maps lie in ``FOLDER/<hash of the encoder>/<hash of its pictures>.safetensors``, float16, one tensor for each
camera and level. What an encoder answers depends on the picture alone, so that a drive that is read again, with other
sweeps or under another name, finds them. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import atomic
from lidarloop_core.io.images import encoded
from lidarloop_core.sample import CameraImage, SampleSource
from lidarloop_training.models.image.encoder import ImageEncoder, ImageEncoderConfig, open_encoder

CameraMaps = list[list[npt.NDArray[np.float16]]]
"""By camera, then by level: (C, h, w) float16 maps, each spread evenly over its picture."""

_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


class ImageFeatures:
    """The kept maps of one encoder.

    Args:
        config: the encoder.
        folder: where maps are kept.
        device: where the encoder runs; the CPU where None.

    Raises:
        ConfigError, ModelFileError, BackendError: as ``open_encoder``.
    """

    def __init__(self, config: ImageEncoderConfig, folder: Path, device: torch.device | None = None) -> None:
        self.encoder: ImageEncoder = open_encoder(config, device)
        self.folder = folder / self.encoder.sha256[:16]

    def maps(self, cameras: Sequence[CameraImage]) -> CameraMaps:
        """The maps of a sample's pictures, from the folder or computed now.

        Raises:
            DatasetError: a picture cannot be read.
        """
        path = self.path(cameras)
        found = _read(path, len(cameras))
        if found is None:
            found = [[_half(values) for values in self.encoder.maps(camera.load())] for camera in cameras]
            tensors = {_name(c, level): values for c, maps in enumerate(found) for level, values in enumerate(maps)}
            with atomic.replacing(path) as temporary:
                save_file(tensors, temporary)
        return found

    def path(self, cameras: Sequence[CameraImage]) -> Path:
        """The file of a sample's maps, by the bytes of its pictures."""
        digest = hashlib.sha256()
        for camera in cameras:
            digest.update(hashlib.sha256(encoded(camera).data).digest())
        return self.folder / f"{digest.hexdigest()}.safetensors"

    def prepare(self, source: SampleSource, on_sample: Callable[[int, int], None]) -> None:
        """Computes what is missing; one that was interrupted goes on where it stopped.

        Args:
            source: samples with pictures.
            on_sample: called after each sample with the number done and their number.

        Raises:
            DatasetError: a sample has no pictures, or one of them cannot be read.
        """
        for index in range(len(source)):
            cameras = source[index].cameras
            if not cameras:
                raise no_pictures(source)
            if not self.path(cameras).is_file():
                self.maps(cameras)
            on_sample(index + 1, len(source))


def no_pictures(source: SampleSource) -> DatasetError:
    """The error of a source without pictures."""
    token = source.keys[0].token if len(source) else "of no drive"
    return DatasetError(
        f"sample {token} has no pictures; expected some to learn from: take drives that have them (toy-town drives: "
        "--data.cameras)"
    )


def _half(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """float16, values beyond its range at its end."""
    return np.clip(values, -_LARGEST_FLOAT16, _LARGEST_FLOAT16).astype(np.float16)


def _name(camera: int, level: int) -> str:
    return f"{camera:03d}/{level:03d}"


def _read(path: Path, num_cameras: int) -> CameraMaps | None:
    """The maps of a file; None where there is none, or a damaged one."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    found: CameraMaps = [[] for _ in range(num_cameras)]
    for name in sorted(tensors):
        camera = int(name.split("/")[0])
        if camera >= num_cameras or tensors[name].ndim != 3:
            return None
        found[camera].append(tensors[name])
    return found if all(found) else None
