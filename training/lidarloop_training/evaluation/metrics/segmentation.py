"""Segmentation of points: IoU per class and their mean, from one confusion matrix over all clouds.

Definition: Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010: true positives over true
positives, false positives and false negatives; as in SemanticKITTI and nuScenes-lidarseg all points of all clouds are
counted together, and points with the ignored label do not count whatever was predicted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def confusion_matrix(
    truth: npt.NDArray[Any], predicted: npt.NDArray[Any], num_classes: int, ignore_label: int | None = None
) -> IntArray:
    """Counts of one cloud; those of several are added.

    Args:
        truth, predicted: (N,) class indices of the points.
        num_classes: number of classes.
        ignore_label: points with this truth do not count. A prediction of it elsewhere counts as wrong.

    Returns:
        (num_classes, num_classes): row = truth, column = prediction.

    Raises:
        DatasetError: the two are not equally long, or a label lies outside the classes.
    """
    truth, predicted = np.asarray(truth).reshape(-1), np.asarray(predicted).reshape(-1)
    if len(truth) != len(predicted):
        raise DatasetError(
            f"received {len(predicted)} predicted labels for {len(truth)} points; expected one for each point"
        )
    if ignore_label is not None:
        counts = truth != ignore_label
        truth, predicted = truth[counts], predicted[counts]
    for name, labels in (("true", truth), ("predicted", predicted)):
        if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
            raise DatasetError(
                f"received {name} labels {labels.min()}…{labels.max()}; expected 0…{num_classes - 1}: "
                "map the data set's labels to the classes first"
            )
    cells = truth.astype(np.int64) * num_classes + predicted.astype(np.int64)
    matrix: IntArray = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    return matrix


@dataclass(frozen=True)
class SegmentationMetrics:
    """The score of a segmenter.

    Attributes:
        confusion: (C, C) points, row = truth, column = prediction.
        class_names: C names.
        ignore_label: class index that is not scored; None where all are.
    """

    confusion: IntArray
    class_names: tuple[str, ...]
    ignore_label: int | None = None

    @property
    def iou(self) -> FloatArray:
        """(C,) IoU; NaN for the ignored class and for those that neither occur nor are predicted."""
        hits = np.diag(self.confusion).astype(np.float64)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hits
        iou = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
        if self.ignore_label is not None:
            iou[self.ignore_label] = np.nan
        return iou

    @property
    def mean_iou(self) -> float:
        """mIoU over the classes that have one; NaN where none has."""
        known = self.iou[~np.isnan(self.iou)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def mean_iou_present(self) -> float:
        """mIoU over the classes that occur: those of which there is a point. NaN where none does."""
        occurring = self.iou[(self.confusion.sum(axis=1) > 0) & ~np.isnan(self.iou)]
        return float(occurring.mean()) if len(occurring) else float("nan")

    @property
    def accuracy(self) -> float:
        """Share of the points whose class is right; NaN where there is no point."""
        total = self.confusion.sum()
        return float(np.diag(self.confusion).sum() / total) if total else float("nan")


def evaluate_segmentation(
    truths: Sequence[npt.NDArray[Any]],
    predictions: Sequence[npt.NDArray[Any]],
    class_names: tuple[str, ...],
    ignore_label: int | None = None,
) -> SegmentationMetrics:
    """Scores the labels of all clouds together.

    Args:
        truths: (N,) class indices of the points of each cloud.
        predictions: (N,) class indices, in the same order.
        class_names: names of the classes; a class index is a position among them.
        ignore_label: class index that is not scored.

    Raises:
        DatasetError: see ``confusion_matrix``.
    """
    total = np.zeros((len(class_names), len(class_names)), np.int64)
    for truth, predicted in zip(truths, predictions, strict=True):
        total += confusion_matrix(truth, predicted, len(class_names), ignore_label)
    return SegmentationMetrics(total, class_names, ignore_label)
