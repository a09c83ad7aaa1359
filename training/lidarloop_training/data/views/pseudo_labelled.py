"""Samples of any source with pseudo-labels in the place of annotations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import ResultsFrame, read_results, results_frame
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource
from lidarloop_training.data.views.subset import SubsetSource
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE, LABELS, read_drive


@dataclasses.dataclass(frozen=True)
class _Labels:
    """Labels of one sample; the scores of the boxes are their weights in training."""

    boxes: Boxes3D
    num_points: npt.NDArray[np.int64]
    frame: ResultsFrame


class PseudoLabelledSource:
    """A source's samples, annotated with labels from files.

    The score of each box is its weight in training: the quality in ``evidence.json`` beside the labels, or the
    label's own score where there is no such file (detections of a model). Samples are found by their tokens or, where
    the labels were made of the same drive in another container, by their stamps.

    Args:
        source: samples; annotations of their own are not looked at.
        path: a results JSON (``labels.json``), or a folder with some in it, at any depth.
        class_names: classes that the labels' indices refer to; None as in ``read_results``.

    Raises:
        DatasetError: there are no labels, or a file is foreign.
    """

    def __init__(self, source: SampleSource, path: Path, class_names: tuple[str, ...] | None = None) -> None:
        self.source = source
        self.path = path
        self._labels: dict[str, _Labels] = {}
        self._token_at: dict[int, str] = {}
        for file in label_files(path):
            self._read(file, class_names)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def keys(self) -> Sequence[SampleKey]:
        return self.source.keys

    def __getitem__(self, index: int) -> Sample:
        """A sample with its labels.

        Raises:
            DatasetError: the files have no entry for this sample, which is not the same as an empty one.
        """
        return dataclasses.replace(self.source[index], annotations=self.annotations(index))

    def annotations(self, index: int) -> Annotations:
        """The labels of one sample, in the keyframe LiDAR's frame.

        Raises:
            DatasetError: the files have no entry for this sample, which is not the same as an empty one.
        """
        key = self.keys[index]
        labels = self._of(key)
        if labels is None:
            raise DatasetError(
                f"sample {key.token} of {key.drive} has no entry in {self.path}; expected one for every sample, "
                "an empty one where nothing was found: `lidarloop pseudolabel` labels what is missing"
            )
        boxes = labels.boxes if labels.frame == "lidar" else _from_world(labels.boxes, self.pose(index))
        return Annotations(boxes, ("",) * len(boxes), labels.num_points, np.full(len(boxes), np.nan, np.float32))

    def pose(self, index: int) -> LidarPose:
        return self.source.pose(index)

    @property
    def num_labelled(self) -> int:
        """Samples in the files."""
        return len(self._labels)

    def has_labels(self, index: int) -> bool:
        """Whether the files have an entry for a sample, be it an empty one."""
        return self._of(self.keys[index]) is not None

    def _of(self, key: SampleKey) -> _Labels | None:
        return self._labels.get(key.token) or self._labels.get(self._token_at.get(key.stamp_ns, ""))

    def _read(self, file: Path, class_names: tuple[str, ...] | None) -> None:
        if not file.with_name(EVIDENCE).is_file():
            found, meta = read_results(file, class_names)
            for token, boxes in found.items():
                self._labels[token] = _Labels(boxes, np.full(len(boxes), -1), results_frame(meta))
            return
        drive = read_drive(file, class_names)
        for token, labels in drive.labels.items():
            boxes = dataclasses.replace(labels.boxes, scores=labels.quality)
            # A label that a track filled in rests on no points of its own: those in its box are counted instead.
            num_points = np.where(labels.num_points > 0, labels.num_points, -1)
            self._labels[token] = _Labels(boxes, num_points, results_frame(drive.meta))
        self._token_at |= {stamp_ns: token for token, stamp_ns in drive.stamps_ns.items()}


def open_labelled(source: SampleSource, path: Path) -> SampleSource:
    """The samples of a source that have pseudo-labels, e.g. each fifth of a drive.

    Raises:
        DatasetError: none has.
    """
    labelled = PseudoLabelledSource(source, path)
    if labelled.num_labelled >= len(source):
        return labelled
    indices = [i for i in range(len(source)) if labelled.has_labels(i)]
    if not indices:
        raise DatasetError(
            f"none of the {len(source)} samples is among the {labelled.num_labelled} of {path}; expected labels of "
            "these very drives: check both paths"
        )
    return SubsetSource(labelled, indices)


def label_files(path: Path) -> list[Path]:
    """The label files that a path stands for, in order.

    Raises:
        DatasetError: there is none.
    """
    files = [path] if path.is_file() else sorted(path.rglob(LABELS))
    if not files:
        raise DatasetError(
            f"{path} holds no {LABELS}; expected a results JSON, or a folder as `lidarloop pseudolabel` writes it"
        )
    return files


def _from_world(boxes: Boxes3D, pose: LidarPose) -> Boxes3D:
    if pose.world_SE3_lidar is None:
        raise DatasetError(
            "labels in the world frame were given for a source without ego-motion; expected labels with meta.frame "
            "'lidar', or the source that they were made of"
        )
    return boxes.transformed(pose.world_SE3_lidar.inverse())
