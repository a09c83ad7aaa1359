"""Masks of a 2D model, kept by picture and by model: a second recipe or threshold does not run the networks again.

A picture's masks lie in ``FOLDER/<hash of the model>/<hash of the picture>.npz``. The model's hash is of its name,
which holds file hashes or revisions, of its options, and of the files that these name. The folder may be deleted at any
time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.io import atomic, regular_file
from lidarloop_core.io.images import encoded
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.sample import CameraImage
from lidarloop_training.pseudolabel.job import MaskModelSpec, plain

_MOST_BYTES = 1 << 31

_UNREADABLE = (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile)


class CachedMaskModel:
    """A ``MaskModel`` that asks another one for the pictures it has not seen.

    Args:
        model: answers by the picture alone.
        spec: its options.
        folder: where masks are kept; a folder that cannot be written to is a warning.

    Attributes:
        name, class_names: those of the model.
    """

    def __init__(self, model: MaskModel, spec: MaskModelSpec, folder: Path) -> None:
        self.name, self.class_names = model.name, model.class_names
        self._model = model
        self._folder = folder / _hash_of(model, spec)
        self._is_writable = True

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        """See ``MaskModel``."""
        paths = [self._folder / f"{hashlib.sha256(encoded(image).data).hexdigest()}.npz" for image in images]
        found = [self._read(path) for path in paths]
        missing = [i for i, masks in enumerate(found) if masks is None]
        answers = self._model.find(sample_token, [images[i] for i in missing]) if missing else []
        for i, masks in zip(missing, answers, strict=True):
            found[i] = masks
            self._write(paths[i], masks)
        return [masks for masks in found if masks is not None]

    def _read(self, path: Path) -> InstanceMasks | None:
        """The masks of a file; None where there is none, or a damaged one."""
        try:
            with regular_file.opened(path, _MOST_BYTES) as raw, np.load(raw, allow_pickle=False) as file:
                return _from_arrays({key: file[key] for key in file.files}, self.class_names)
        except _UNREADABLE:
            return None

    def _write(self, path: Path, masks: InstanceMasks) -> None:
        if not self._is_writable:
            return
        data = io.BytesIO()
        np.savez_compressed(data, **_as_arrays(masks))
        try:
            atomic.write_bytes(path, data.getvalue())
        except OSError as error:
            self._is_writable = False
            warnings.warn(f"{path.parent}: masks are not kept for another run ({error.strerror})", stacklevel=2)


def _hash_of(model: MaskModel, spec: MaskModelSpec) -> str:
    about = [type(spec).__name__, model.name, list(model.class_names), options_of(spec)]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def options_of(spec: Any) -> dict[str, Any]:
    """Options of a model as JSON values, files by what they hold: where one lies does not matter.

    Args:
        spec: a dataclass of plain values and paths.
    """
    options = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}
    files = {
        name: hashlib.sha256(regular_file.read_bytes(value, _MOST_BYTES)).hexdigest()
        for name, value in options.items()
        if isinstance(value, Path) and value.is_file()
    }
    return {name: files.get(name, plain(value)) for name, value in options.items()}


def _as_arrays(masks: InstanceMasks) -> dict[str, Any]:
    windows = [(w.left, w.top, *w.pixels.shape) for w in masks.masks]
    bits = [np.packbits(w.pixels) for w in masks.masks]
    return {
        "boxes": masks.boxes,
        "scores": masks.scores,
        "labels": masks.labels,
        "windows": np.array(windows, np.int64).reshape(-1, 4),
        "bits": np.concatenate([np.zeros(0, np.uint8), *bits]),
        "size": np.array([masks.width, masks.height]),
    }


def _from_arrays(arrays: dict[str, Any], class_names: tuple[str, ...]) -> InstanceMasks:
    """Inverse of ``_as_arrays``."""
    windows, start = [], 0
    for left, top, height, width in arrays["windows"].tolist():
        end = start + -(-height * width // 8)
        pixels = np.unpackbits(arrays["bits"][start:end], count=height * width).astype(np.bool_)
        windows.append(MaskWindow(left, top, pixels.reshape(height, width)))
        start = end
    width, height = arrays["size"].tolist()
    return InstanceMasks(
        arrays["boxes"], arrays["scores"], arrays["labels"], tuple(windows), class_names, width, height
    )
