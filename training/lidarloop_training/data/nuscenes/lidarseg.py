"""nuScenes-lidarseg: the keyframes of nuScenes with a label for each point.

Clouds carry the column ``label`` besides those of nuScenes: an index into ``lidarseg_classes.LABEL_NAMES``,
0 where nothing is scored, as on the sweeps between keyframes, which are not labelled.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import regular_file
from lidarloop_core.io.outside import below
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.nuscenes.lidarseg_classes import CATEGORY_TO_LABEL_NAME, LABEL_NAMES
from lidarloop_training.data.nuscenes.reader import NuScenesSource, open_nuscenes
from lidarloop_training.data.nuscenes.records import read_table
from lidarloop_training.data.nuscenes.tables import LIDARSEG
from lidarloop_training.data.views.concat import ConcatSource

_MOST_BYTES = 1 << 28

_UNKNOWN = -1


def open_lidarseg(path: Path, **options: Any) -> NuScenesLidarsegSource | ConcatSource:
    """One nuScenes folder with the lidarseg package, or a folder of such folders; see ``open_nuscenes``.

    Raises:
        DatasetError: as ``open_nuscenes`` and ``NuScenesLidarsegSource``.
    """
    source = open_nuscenes(path, **options)
    if isinstance(source, NuScenesSource):
        return NuScenesLidarsegSource(source)
    return ConcatSource([NuScenesLidarsegSource(each) for each in source.sources if isinstance(each, NuScenesSource)])


def with_point_labels(source: NuScenesSource) -> NuScenesSource | NuScenesLidarsegSource:
    """The same samples, their points labelled where the folder holds the lidarseg package."""
    has_labels = (source.root / source.version / f"{LIDARSEG}.json").is_file()
    return NuScenesLidarsegSource(source) if has_labels else source


class NuScenesLidarsegSource:
    """The samples of a ``NuScenesSource`` with their points' labels. Picklable."""

    def __init__(self, source: NuScenesSource) -> None:
        """Reads ``lidarseg.json`` and the categories' indices beside the source's tables.

        Args:
            source: a nuScenes folder with the lidarseg package unpacked into it.

        Raises:
            DatasetError: the table is missing, a category is unknown, or the categories have no indices.
        """
        self._source = source
        folder = source.root / source.version
        files = {record["sample_data_token"]: record["filename"] for record in read_table(folder, LIDARSEG)}
        self._files = {
            record["sample_token"]: below(source.root, files[record["token"]], f"{folder}/lidarseg.json")
            for record in read_table(folder, "sample_data")
            if record["token"] in files
        }
        self._lookup = _lookup(folder)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def keys(self) -> tuple[SampleKey, ...]:
        return self._source.keys

    def __getitem__(self, index: int) -> Sample:
        """Reads one keyframe and its labels.

        Raises:
            DatasetError: labels are missing, do not fit the cloud, or hold an unknown index.
        """
        sample = self._source[index]
        newest, *older = sample.sweeps
        labels = self._labels(sample.token, len(newest.points))
        unlabelled = [_with_labels(sweep, np.zeros(len(sweep.points))) for sweep in older]
        sweeps = (_with_labels(newest, labels), *unlabelled)
        return dataclasses.replace(sample, sweeps=sweeps, point_classes=LABEL_NAMES)

    def annotations(self, index: int) -> Annotations:
        return self._source.annotations(index)

    def pose(self, index: int) -> LidarPose:
        return self._source.pose(index)

    def _labels(self, sample_token: str, num_points: int) -> npt.NDArray[np.int64]:
        path = self._files.get(sample_token)
        if path is None:
            raise DatasetError(
                f"{self._source.root}: sample {sample_token} has no entry in lidarseg.json; expected the lidarseg "
                f"package of {self._source.version}"
            )
        try:
            raw = np.frombuffer(regular_file.read_bytes(path, _MOST_BYTES), dtype=np.uint8)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
        if len(raw) != num_points:
            raise DatasetError(
                f"{path}: received {len(raw)} bytes; expected {num_points}, one for each point of the cloud: the file "
                "is truncated or of another cloud"
            )
        labels = self._lookup[raw]
        if (labels == _UNKNOWN).any():
            unknown = np.unique(raw[labels == _UNKNOWN])
            raise DatasetError(f"{path}: received indices {unknown[:8].tolist()}; expected those of category.json")
        return labels


def _lookup(folder: Path) -> npt.NDArray[np.int64]:
    """(256,) label by the category index that the files hold."""
    lookup = np.full(256, _UNKNOWN, dtype=np.int64)
    for record in read_table(folder, "category"):
        if "index" not in record or record["name"] not in CATEGORY_TO_LABEL_NAME:
            raise DatasetError(
                f"{folder / 'category.json'}: received category {record['name']} "
                f"{'that is unknown' if 'index' in record else 'without an index'}; expected the table of the lidarseg "
                "package, which replaces nuScenes' own: unpack it over the tables"
            )
        lookup[record["index"]] = LABEL_NAMES.index(CATEGORY_TO_LABEL_NAME[record["name"]])
    return lookup


def _with_labels(sweep: Sweep, labels: npt.NDArray[np.generic]) -> Sweep:
    points = np.column_stack([sweep.points, labels.astype(np.float32)])
    return dataclasses.replace(sweep, points=points, columns=(*sweep.columns, "label"))
