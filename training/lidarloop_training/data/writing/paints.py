"""Paints on disk: a folder per drive with a file per sample, and ``paints.json`` when all are there.

``FOLDER/<drive>/<token>.zip`` holds ``sweeps.json``, the stamp and the number of points of each sweep, newest first,
and ``paint.u8``, a row of bytes for each of their points in steps of 1/255. FOLDER is named after the hash of the 2D
model, its options and its files: another model's paints lie in another one. ``paints.json`` names the model and its
classes.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import atomic, outside, regular_file
from lidarloop_core.labelling.painting.paint import paint, paint_columns
from lidarloop_core.labelling.painting.score_model import ScoreModel
from lidarloop_core.sample import CameraImage, Sample, SampleSource

PAINTS = "paints.json"

_STEPS = 255
_SWEEPS, _PAINT = "sweeps.json", "paint.u8"
_MOST_BYTES, _MOST_HEADER_BYTES = 1 << 28, 1 << 20
_UNREADABLE = (*outside.DAMAGED_ZIP, KeyError, TypeError, ValueError, OverflowError)


class Seen(NamedTuple):
    """What a 2D model looks at for a sample.

    Attributes:
        token: what the model knows the sample by.
        cameras: its pictures.
    """

    token: str
    cameras: Sequence[CameraImage]


class Painting(NamedTuple):
    """What became of a drive.

    Attributes:
        num_samples: samples painted now.
        num_points: points of all keyframes.
        num_seen: those of them that a camera sees.
    """

    num_samples: int
    num_points: int
    num_seen: int

    def plus(self, num_samples: int, num_points: int, num_seen: int) -> Painting:
        """With more of each."""
        return Painting(self.num_samples + num_samples, self.num_points + num_points, self.num_seen + num_seen)


def own_pictures(sample: Sample) -> Seen:
    """A sample's own pictures."""
    return Seen(sample.token, sample.cameras)


@dataclass(frozen=True)
class SamplePaints:
    """The paint of one sample's sweeps.

    Attributes:
        stamps_ns: stamp of each sweep, nanoseconds, newest first.
        by_sweep: (N, 1 + K) float32 in [0, 1] of each sweep's points, columns of ``paint_columns``.
    """

    stamps_ns: tuple[int, ...]
    by_sweep: tuple[npt.NDArray[np.float32], ...]


def paints_key(description: Any) -> str:
    """Name of a model's folder, 16 hexadecimal digits, from JSON values of all that its scores depend on."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def painted_folder(folder: Path, drive: str) -> Path:
    """Where the paints of a drive lie."""
    return folder / outside.safe_name(drive)


def is_painted(folder: Path, drive: str) -> bool:
    """Whether all samples of a drive have been painted."""
    return (painted_folder(folder, drive) / PAINTS).is_file()


def paint_drive(
    source: SampleSource,
    indices: Sequence[int],
    model: ScoreModel,
    folder: Path,
    pictures_of: Callable[[Sample], Seen] = own_pictures,
    on_sample: Callable[[int], None] | None = None,
) -> Painting:
    """Paints a drive; its samples that have been painted already are passed over.

    Args:
        source: samples with the sweeps to paint.
        indices: all samples of the drive, at least one.
        model: scores their pictures.
        folder: where the paints of this model lie.
        pictures_of: what it looks at.
        on_sample: called with the index of each sample that is finished.

    Raises:
        DatasetError: no camera sees any point of the drive.
    """
    drive = source.keys[indices[0]].drive
    place = painted_folder(folder, drive)
    total = Painting(0, 0, 0)
    for index in indices:
        path = _file(place, source.keys[index].token)
        is_there = path.is_file()
        if not is_there:
            atomic.write_bytes(path, _as_bytes(_painted(source[index], model, pictures_of)))
        newest = read_paints(folder, drive, source.keys[index].token).by_sweep[0]
        total = total.plus(int(not is_there), len(newest), int(newest[:, 0].sum()))
        if on_sample is not None:
            on_sample(index)
    if total.num_seen == 0:
        raise DatasetError(
            f"no camera sees any of the {total.num_points} points of {drive}; expected pictures with intrinsics, "
            "mounting poses and stamps of the clouds': check the drive with `lidarloop view --png`"
        )
    about = {"model": model.name, "class_names": list(model.class_names)}
    atomic.write_bytes(place / PAINTS, json.dumps(about, indent=1, ensure_ascii=False).encode())
    return total


def _painted(sample: Sample, model: ScoreModel, pictures_of: Callable[[Sample], Seen]) -> SamplePaints:
    seen = pictures_of(sample)
    scores = model.score(seen.token, seen.cameras)
    painted = tuple(paint(sweep, seen.cameras, scores, len(model.class_names)) for sweep in sample.sweeps)
    return SamplePaints(tuple(sweep.stamp_ns for sweep in sample.sweeps), painted)


def read_paints(folder: Path, drive: str, token: str) -> SamplePaints:
    """The paint of one sample.

    Raises:
        DatasetError: it was not painted, or its file is damaged.
    """
    path = _file(painted_folder(folder, drive), token)
    try:
        with regular_file.opened(path, _MOST_BYTES) as raw, zipfile.ZipFile(raw) as archive:
            header = outside.parse_json(outside.read_member(archive, _SWEEPS, _MOST_HEADER_BYTES))
            rows = np.frombuffer(outside.read_member(archive, _PAINT, _MOST_BYTES), np.uint8)
        return _as_paints(header, rows)
    except _UNREADABLE as error:
        raise DatasetError(
            f"{path}: cannot be read ({error}); expected the paint of sample {token} of {drive}: `lidarloop paint` "
            "paints what is missing"
        ) from None


def painted_classes(folder: Path) -> tuple[str, ...]:
    """Classes that the drives of a folder are painted with.

    Raises:
        DatasetError: there are no paints, or those of different classes.
    """
    files = sorted(folder.glob(f"*/{PAINTS}"))
    found = {_classes(file) for file in files}
    if len(found) != 1:
        raise DatasetError(
            f"{folder} received paints of {len(found)} lists of classes; expected one: the folder that `lidarloop "
            "paint` prints"
        )
    return found.pop()


def columns_of(folder: Path) -> tuple[str, ...]:
    """Columns that the paints of a folder add to a cloud; see ``painted_classes``."""
    return paint_columns(painted_classes(folder))


def _classes(file: Path) -> tuple[str, ...]:
    try:
        names = outside.read_json(file)["class_names"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("no list of class names")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); expected what `lidarloop paint` writes") from None
    return tuple(names)


def _file(place: Path, token: str) -> Path:
    return place / f"{outside.safe_name(token)}.zip"


def _as_bytes(paints: SamplePaints) -> bytes:
    header = {
        "stamps_ns": list(paints.stamps_ns),
        "num_points": [len(each) for each in paints.by_sweep],
        "num_columns": paints.by_sweep[0].shape[1],
    }
    rows = np.round(np.concatenate(paints.by_sweep) * _STEPS).astype(np.uint8)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_SWEEPS, json.dumps(header))
        archive.writestr(_PAINT, rows.tobytes())
    return data.getvalue()


def _as_paints(header: Any, rows: npt.NDArray[np.uint8]) -> SamplePaints:
    """Inverse of ``_as_bytes``; ``rows`` (N × C,) uint8 in steps of 1/255, N points over all sweeps."""
    stamps_ns, num_points, num_columns = header["stamps_ns"], header["num_points"], header["num_columns"]
    numbers = [*stamps_ns, *num_points, num_columns]
    if any(type(number) is not int or number < 0 for number in numbers) or len(stamps_ns) != len(num_points):
        raise ValueError(f"{_SWEEPS} holds no stamps and numbers of points of sweeps")
    if not num_points or not num_columns or sum(num_points) * num_columns != len(rows):
        raise ValueError(f"{len(rows)} bytes for {sum(num_points)} points of {num_columns} columns")
    painted = rows.reshape(-1, num_columns).astype(np.float32) / _STEPS
    stops = np.cumsum(num_points)
    return SamplePaints(tuple(stamps_ns), tuple(np.split(painted, stops[:-1])))
