"""The confusion matrix by hand and by its sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth, Matching, match_detections
from lidarloop_training.evaluation.statistics.confusion import confuse


def boxes(places: Sequence[float], names: Sequence[str], scores: npt.ArrayLike | None = None) -> Boxes3D:
    values = np.zeros((len(places), 9), np.float32)
    values[:, 0], values[:, 3:6] = places, 1.0
    labels = [NUSCENES_CLASSES.index(name) for name in names]
    return Boxes3D(values, np.ones(len(places)) if scores is None else scores, labels, NUSCENES_CLASSES)


def match(detections: Mapping[str, Boxes3D], objects: Mapping[str, Boxes3D]) -> Matching:
    truths = {
        token: GroundTruth(b, np.full(len(b), -1), np.full(len(b), np.nan, np.float32)) for token, b in objects.items()
    }
    return match_detections(detections, truths, DetectionConfig())


def test_by_hand() -> None:
    objects = boxes([5, 10, 15, 20], ["car", "car", "truck", "bus"])
    detections = boxes(
        [5, 10.5, 15.5, 14.8, 28, 20], ["car", "truck", "bus", "bus", "car", "bus"], [0.9, 0.8, 0.7, 0.6, 0.5, 0.2]
    )
    confusion = confuse(match({"a": detections}, {"a": objects}), threshold=0.3)
    assert confusion.class_names == ("car", "truck", "bus")
    assert confusion.counts.tolist() == [
        [1, 1, 0, 0],  # one right, one taken for a truck
        [0, 0, 1, 0],  # the nearer bus
        [0, 0, 0, 1],  # its detection lies below the threshold
        [1, 0, 1, 0],  # the car at 28 m and the other bus
    ]


def test_boxes_of_other_frames_are_no_neighbours() -> None:
    objects = {"a": boxes([5], ["car"]), "b": boxes([], [])}
    detections = {"a": boxes([], []), "b": boxes([5], ["truck"])}
    confusion = confuse(match(detections, objects), threshold=0.0)
    assert confusion.counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_beyond_two_metres_it_is_a_miss() -> None:
    confusion = confuse(match({"a": boxes([7.0], ["truck"])}, {"a": boxes([5], ["car"])}), threshold=0.0)
    assert confusion.counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_nothing_at_all() -> None:
    confusion = confuse(match({"a": boxes([], [])}, {"a": boxes([], [])}), threshold=0.0)
    assert confusion.class_names == ()
    assert confusion.counts.tolist() == [[0]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.0, 0.3, 0.8]))
def test_every_box_counts_once(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    objects, detections = {}, {}
    for token in "abc":
        n, m = rng.integers(0, 12, 2)
        objects[token] = boxes(rng.uniform(0, 25, n), rng.choice(NUSCENES_CLASSES[:4], n))
        detections[token] = boxes(rng.uniform(0, 25, m), rng.choice(NUSCENES_CLASSES[:4], m), rng.random(m))
    matching = match(detections, objects)
    confusion = confuse(matching, threshold)
    shown = matching.detections.scores >= threshold
    for i, name in enumerate(confusion.class_names):
        label = NUSCENES_CLASSES.index(name)
        assert confusion.counts[i].sum() == (matching.objects.labels == label).sum()
        assert confusion.counts[:, i].sum() == (matching.detections.labels[shown] == label).sum()
