from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.sample import Annotations
from lidarloop_training.evaluation.metrics.class_agnostic import OBJECT, as_objects, class_agnostic_config, objects_of
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth
from lidarloop_training.evaluation.metrics.nuscenes import evaluate_detections

CONFIG = DetectionConfig()
AGNOSTIC = class_agnostic_config(CONFIG)


def boxes(
    names: Sequence[str], class_names: tuple[str, ...] = NUSCENES_CLASSES, scores: npt.ArrayLike | None = None
) -> Boxes3D:
    values = np.zeros((len(names), 9), np.float32)
    values[:, 0], values[:, 3:6] = 5 + 5 * np.arange(len(names)), 1.0
    labels = [class_names.index(name) for name in names]
    return Boxes3D(values, np.ones(len(names)) if scores is None else scores, labels, class_names)


def annotations_of(objects: Boxes3D) -> Annotations:
    ids = tuple(f"id{i}" for i in range(len(objects)))
    return Annotations(objects, ids, np.arange(1, len(objects) + 1), np.full(len(objects), np.nan, np.float32))


def truth(annotated: Annotations) -> GroundTruth:
    return GroundTruth(annotated.boxes, annotated.num_lidar_pts, annotated.visibility)


def test_wrong_classes_cost_nothing() -> None:
    objects = annotations_of(boxes(["car", "pedestrian", "traffic_cone", "bus"]))
    detections = boxes(["bus", "bus", "barrier", "car"], scores=[0.9, 0.8, 0.7, 0.6])
    with_classes = evaluate_detections({"a": detections}, {"a": truth(objects)}, CONFIG)
    merged = truth(objects_of(objects, CONFIG))
    without = evaluate_detections({"a": as_objects(detections, CONFIG)}, {"a": merged}, AGNOSTIC)
    assert with_classes.mean_ap == 0
    assert without.mean_ap == pytest.approx(1)
    assert [c.name for c in without.classes] == [OBJECT]


def test_every_class_counts_to_the_largest_range() -> None:
    cone = boxes(["traffic_cone"])
    cone.values[0, 0] = 45.0
    found = as_objects(cone, CONFIG)
    assert (
        evaluate_detections({"a": found}, {"a": truth(objects_of(annotations_of(cone), CONFIG))}, AGNOSTIC).mean_ap
        > 0.99
    )
    assert evaluate_detections({"a": cone}, {"a": truth(annotations_of(cone))}, CONFIG).classes[8].num_objects == 0


def test_foreign_classes_stay_out_and_objects_count() -> None:
    names = ("tram", "car", OBJECT)
    given = boxes(["tram", "object", "car", "tram"], names)
    kept = as_objects(given, CONFIG)
    np.testing.assert_array_equal(kept.values, given.values[1:3])
    objects = objects_of(annotations_of(given), CONFIG)
    assert objects.num_lidar_pts.tolist() == [2, 3]
    assert objects.instance_ids == ("id1", "id2")
    assert as_objects(boxes([], names), CONFIG).class_names == (OBJECT,)
