"""A segmenter over the samples of a drive: IoU per class and their mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lidarloop_core.inference.segmenter import NO_LABEL, Segmenter
from lidarloop_core.sample import Sample
from lidarloop_training.data.point_labels import UNLABELLED, is_in_range, labelled_points
from lidarloop_training.evaluation.metrics.segmentation import SegmentationMetrics, confusion_matrix

NOTHING = "nothing"
"""Name of the column for points that the model gives no label: they count against their class."""


def score_segmenter(segmenter: Segmenter, samples: Iterable[Sample]) -> SegmentationMetrics:
    """Runs a segmenter as the vehicle does and counts.

    Points in the model's range that the samples label with one of its classes count.

    Args:
        segmenter: the model.
        samples: samples with labelled points.

    Returns:
        The metrics; the last of the class names is ``NOTHING``, which is not scored.

    Raises:
        DatasetError: the points of a sample are not labelled.
    """
    spec = segmenter.spec
    nothing = len(spec.class_names)
    total = np.zeros((nothing + 1, nothing + 1), np.int64)
    for sample in samples:
        points, labels = labelled_points(sample, spec)
        found = segmenter.segment(points).labels.astype(np.int64)
        counts = is_in_range(points, spec) & (labels != UNLABELLED)
        found[found == NO_LABEL] = nothing
        total += confusion_matrix(labels[counts], found[counts], nothing + 1)
    return SegmentationMetrics(total, (*spec.class_names, NOTHING), ignore_label=nothing)


def summarise_segmenter(metrics: SegmentationMetrics) -> dict[str, Any]:
    """The metrics as JSON knows them: mIoU over the classes that occur, IoU of each, numbers of points."""
    iou, truth = metrics.iou, metrics.confusion.sum(axis=1)
    return {
        "mIoU": None if np.isnan(metrics.mean_iou_present) else metrics.mean_iou_present,
        "accuracy": None if np.isnan(metrics.accuracy) else metrics.accuracy,
        "num_points": int(truth.sum()),
        "classes": {
            name: {"iou": None if np.isnan(value) else float(value), "num_points": int(number)}
            for name, value, number in zip(metrics.class_names[:-1], iou[:-1], truth[:-1], strict=True)
        },
    }
