"""The metrics against the official devkit, closed forms and invariants."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.data import metrics
from benchmarks.data.metrics import random_case
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.evaluation.metrics.matching import UNMATCHED, DetectionConfig, GroundTruth, match_detections
from lidarloop_training.evaluation.metrics.nuscenes import (
    TP_ERRORS,
    average_precision,
    evaluate_detections,
    match_errors,
    precision_recall,
)

CONFIG = DetectionConfig()


def boxes(rows: npt.ArrayLike, scores: npt.ArrayLike | None = None, labels: npt.ArrayLike | None = None) -> Boxes3D:
    values = np.array(rows, dtype=np.float32).reshape(-1, 9)
    return Boxes3D(
        values,
        np.ones(len(values)) if scores is None else scores,
        np.zeros(len(values), int) if labels is None else labels,
        NUSCENES_CLASSES,
    )


def truth(objects: Boxes3D, num_lidar_pts: Any = None, ego_xy_m: tuple[float, float] = (0.0, 0.0)) -> GroundTruth:
    points = np.full(len(objects), 10) if num_lidar_pts is None else np.asarray(num_lidar_pts)
    return GroundTruth(objects, points, np.full(len(objects), np.nan, np.float32), np.asarray(ego_xy_m, float))


def car(
    x: float,
    y: float = 0.0,
    yaw: float = 0.0,
    size: tuple[float, float, float] = (4.0, 2.0, 1.5),
    velocity: tuple[float, float] = (0.0, 0.0),
) -> list[float]:
    return [x, y, 0.0, *size, yaw, *velocity]


# --- the devkit as oracle ---------------------------------------------------------------------------------------------


def test_agrees_with_the_devkit(record_property: Callable[[str, object], None]) -> None:
    pytest.importorskip("nuscenes", reason="needs the nuscenes-devkit")
    worst = metrics.largest_difference_of(200)
    record_property("largest_difference", worst)
    assert worst < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_devkit_at_the_edges(seed: int) -> None:
    pytest.importorskip("nuscenes", reason="needs the nuscenes-devkit")
    _, ground_truth = random_case(np.random.default_rng(seed))
    nothing = {token: Boxes3D.empty(NUSCENES_CLASSES) for token in ground_truth}
    perfect = {
        token: Boxes3D(np.nan_to_num(gt.boxes.values), np.full(len(gt.boxes), 0.5), gt.boxes.labels, NUSCENES_CLASSES)
        for token, gt in ground_truth.items()
    }
    no_objects = {token: truth(Boxes3D.empty(NUSCENES_CLASSES)) for token in ground_truth}
    for predictions, truths in ((nothing, ground_truth), (perfect, ground_truth), (perfect, no_objects)):
        theirs, curves, _ = metrics.devkit_metrics(predictions, truths)
        assert metrics.largest_difference(evaluate_detections(predictions, truths), theirs, curves) < 1e-6


def test_the_measure_of_agreement_sees_a_difference() -> None:
    """Another detection, and another class without objects, must show."""
    pytest.importorskip("nuscenes", reason="needs the nuscenes-devkit")
    predictions, truths = random_case(np.random.default_rng(1))
    theirs, curves, _ = metrics.devkit_metrics(predictions, truths)
    fewer = predictions | {"t0": Boxes3D.empty(NUSCENES_CLASSES)}
    assert metrics.largest_difference(evaluate_detections(fewer, truths), theirs, curves) > 1e-3


def test_the_default_config_is_the_devkits() -> None:
    factory = pytest.importorskip("nuscenes.eval.common.config", reason="needs the nuscenes-devkit")
    theirs = factory.config_factory("detection_cvpr_2019")
    assert dict(CONFIG.class_range_m) == theirs.class_range
    assert tuple(CONFIG.class_range_m) == NUSCENES_CLASSES
    assert list(CONFIG.match_distances_m) == theirs.dist_ths
    assert (CONFIG.tp_distance_m, CONFIG.min_recall, CONFIG.min_precision) == (
        theirs.dist_th_tp,
        theirs.min_recall,
        theirs.min_precision,
    )
    assert (CONFIG.max_boxes_per_sample, CONFIG.mean_ap_weight) == (theirs.max_boxes_per_sample, theirs.mean_ap_weight)


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_a_perfect_detector() -> None:
    objects = boxes([car(10), car(20, 3, 1.0, velocity=(5, 0))])
    metrics = evaluate_detections({"a": objects}, {"a": truth(objects)})
    assert metrics.mean_ap == pytest.approx(1.0)
    assert metrics.errors == pytest.approx({"ATE": 0, "ASE": 0, "AOE": 0, "AVE": 0, "AAE": 1}, abs=1e-6)
    assert metrics.nds == pytest.approx(0.9)  # attributes are never predicted
    assert metrics.mean_ap_all_classes == pytest.approx(0.1)  # one class of ten


def test_one_of_two_objects_found() -> None:
    objects = boxes([car(10), car(20)])
    metrics = evaluate_detections({"a": objects[[0]]}, {"a": truth(objects)})
    # Precision 1 up to recall 0.5: 40 of the 90 recalls above 0.1.
    assert metrics.mean_ap == pytest.approx(40 / 90)


def test_a_detection_at_the_threshold_is_no_match() -> None:
    predictions, ground_truth = {"a": boxes([car(10)])}, {"a": truth(boxes([car(11)]))}
    matched = match_detections(predictions, ground_truth, CONFIG).match[:, 0]
    assert (matched != UNMATCHED).tolist() == [False, False, True, True]  # 1 m is not below 1 m


def test_the_better_score_takes_the_object_and_the_other_takes_the_next() -> None:
    objects = boxes([car(10), car(11.5)])
    detections = boxes([car(10.1), car(10.0)], scores=[0.4, 0.9])
    matching = match_detections({"a": detections}, {"a": truth(objects)}, CONFIG)
    assert matching.detections.index.tolist() == [1, 0]
    assert matching.match[2].tolist() == [0, 1]
    assert matching.match[0].tolist() == [0, UNMATCHED]


def test_match_errors_in_closed_form() -> None:
    detected = np.array([[3, 4, 9, 4, 2, 1, np.pi - 0.1, 3, 0]], float)
    expected = np.array([[0, 0, 0, 2, 2, 2, -np.pi + 0.1, 0, 4]], float)
    errors = {key: value[0] for key, value in match_errors(detected, expected).items()}
    # Overlap 2·2·1 = 4 of volumes 8 and 8.
    assert errors == pytest.approx({"ATE": 5, "ASE": 1 - 4 / 12, "AOE": 0.2, "AVE": 5})
    turned = match_errors(np.array([[*car(0, yaw=np.pi)]]), np.array([car(0)]), yaw_period_rad=np.pi)
    assert turned["AOE"][0] == pytest.approx(0)


def test_a_barrier_may_face_either_way_and_a_car_may_not() -> None:
    for name, expected in (("barrier", 0.0), ("car", np.pi)):
        label = [NUSCENES_CLASSES.index(name)]
        metrics = evaluate_detections(
            {"a": boxes([car(9, yaw=np.pi)], labels=label)}, {"a": truth(boxes([car(9)], labels=label))}
        )
        assert metrics.errors["AOE"] == pytest.approx(expected, abs=1e-5)


def test_only_cones_leave_heading_and_velocity_undefined() -> None:
    cone = boxes([car(9)], labels=[NUSCENES_CLASSES.index("traffic_cone")])
    metrics = evaluate_detections({"a": cone}, {"a": truth(cone)})
    assert [math.isnan(metrics.errors[key]) for key in TP_ERRORS] == [False, False, True, True, True]
    assert metrics.nds == pytest.approx((5 + 1 + 1) / 10)


def test_range_is_measured_from_the_ego_vehicle() -> None:
    objects = boxes([car(60), car(45)])
    there = evaluate_detections({"a": objects}, {"a": truth(objects, ego_xy_m=(30, 0))})
    here = evaluate_detections({"a": objects}, {"a": truth(objects)})
    assert there.classes[0].num_objects == there.classes[0].num_detections == 2
    assert here.classes[0].num_objects == here.classes[0].num_detections == 1


def test_objects_without_points_do_not_count_and_unknown_ones_do() -> None:
    objects = boxes([car(10), car(20), car(30)])
    metrics = evaluate_detections({"a": objects[[1]]}, {"a": truth(objects, num_lidar_pts=[0, 5, -1])})
    assert metrics.classes[0].num_objects == 2


def test_other_vocabularies_are_read_by_name() -> None:
    objects = boxes([car(10), car(20)], labels=[0, NUSCENES_CLASSES.index("pedestrian")])
    predicted = Boxes3D(objects.values, [0.9, 0.8], [1, 2], ("tram", "car", "pedestrian"))
    metrics = evaluate_detections({"a": predicted}, {"a": truth(objects)})
    assert [c.name for c in metrics.present] == ["car", "pedestrian"]
    assert metrics.mean_ap == pytest.approx(1)


def test_no_objects_at_all_scores_nothing() -> None:
    metrics = evaluate_detections({"a": boxes([car(10)])}, {"a": truth(Boxes3D.empty(NUSCENES_CLASSES))})
    assert math.isnan(metrics.mean_ap)
    assert math.isnan(metrics.nds)
    assert metrics.mean_ap_all_classes == 0
    assert math.isnan(evaluate_detections({}, {}).mean_ap)


def test_average_precision_of_a_constant_precision() -> None:
    curve = precision_recall(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.6]), 2)
    # After each detection: precision 1, 1/2, 2/3, 1/2 at recall 1/2, 1/2, 1, 1. Between the two recalls it is a line.
    assert curve.precision[[0, 49, 75, 100]] == pytest.approx([1, 1, 0.5 + (2 / 3 - 0.5) / 2, 0.5])
    assert average_precision(np.full(101, 0.55), CONFIG) == pytest.approx(0.5)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_other_tokens_are_refused() -> None:
    with pytest.raises(DatasetError, match="lack 1 frames of the ground truth and hold 1"):
        evaluate_detections({"b": boxes([])}, {"a": truth(boxes([]))})


def test_too_many_boxes_are_refused() -> None:
    with pytest.raises(DatasetError, match="501 detections; expected at most 500"):
        evaluate_detections({"a": boxes([car(1)] * 501)}, {"a": truth(boxes([]))})


@pytest.mark.parametrize("bad", [car(np.nan), car(1, size=(4, 0, 1)), car(1, yaw=np.inf)])
def test_unusable_boxes_are_refused(bad: list[float]) -> None:
    with pytest.raises(DatasetError, match="frame 'a' holds the prediction box"):
        evaluate_detections({"a": boxes([bad])}, {"a": truth(boxes([]))})


# --- invariants -------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), yaw=st.floats(-3, 3), x=st.floats(-20, 20))
def test_the_frame_of_reference_does_not_matter(seed: int, yaw: float, x: float) -> None:
    predictions, ground_truth = random_case(np.random.default_rng(seed), num_frames=2)
    new_SE3_old = SE3.from_yaw(yaw, (x, 3.0, 0.0))
    moved = {token: frame.transformed(new_SE3_old) for token, frame in predictions.items()}
    moved_truth = {
        token: GroundTruth(
            gt.boxes.transformed(new_SE3_old),
            gt.num_lidar_pts,
            gt.visibility,
            new_SE3_old.transform(np.array([[*gt.ego_xy_m, 0.0]]))[0, :2],
        )
        for token, gt in ground_truth.items()
    }
    here, there = evaluate_detections(predictions, ground_truth), evaluate_detections(moved, moved_truth)
    assert there.mean_ap_all_classes == pytest.approx(here.mean_ap_all_classes, abs=1e-3)
    assert there.nds_all_classes == pytest.approx(here.nds_all_classes, abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_false_positive_never_helps(seed: int) -> None:
    predictions, ground_truth = random_case(np.random.default_rng(seed), num_frames=2)
    nothing_there = ground_truth | {"empty": truth(Boxes3D.empty(NUSCENES_CLASSES))}
    before = evaluate_detections(predictions | {"empty": Boxes3D.empty(NUSCENES_CLASSES)}, nothing_there)
    after = evaluate_detections(predictions | {"empty": boxes([car(5)], scores=[0.6])}, nothing_there)
    assert after.classes[0].mean_ap <= before.classes[0].mean_ap
    assert [c.mean_ap for c in after.classes[1:]] == [c.mean_ap for c in before.classes[1:]]


# --- truth without velocities -----------------------------------------------------------------------------------------


def test_without_velocities_in_the_truth_their_error_is_not_judged() -> None:
    """A perfect detector keeps 8 of the 9 parts that can be judged: attributes are not predicted."""
    unknown = boxes([car(5.0, velocity=(math.nan, math.nan)), car(15.0, velocity=(math.nan, math.nan))])
    found = boxes([car(5.0, velocity=(3.0, 0.0)), car(15.0)], scores=[0.9, 0.8])
    metrics = evaluate_detections({"t": found}, {"t": truth(unknown)})
    assert math.isnan(metrics.errors["AVE"])
    assert math.isnan(metrics.present[0].errors["AVE"])
    assert metrics.unjudged == ("AVE",)
    assert metrics.mean_ap == pytest.approx(1.0)
    assert metrics.nds == pytest.approx(8 / 9)
    assert metrics.present[0].devkit_errors["AVE"] == 1.0


def test_classes_without_velocities_do_not_count_in_those_of_others() -> None:
    objects = boxes([car(5.0, velocity=(math.nan, math.nan)), car(15.0, velocity=(2.0, 0.0))], labels=[0, 1])
    found = boxes([car(5.0), car(15.0, velocity=(2.5, 0.0))], scores=[0.9, 0.8], labels=[0, 1])
    metrics = evaluate_detections({"t": found}, {"t": truth(objects)})
    assert metrics.errors["AVE"] == pytest.approx(0.5)
    assert metrics.unjudged == ()
    assert metrics.nds == pytest.approx((5 + 3 + 0.5) / 10)


def test_velocities_that_no_class_has_still_earn_nothing() -> None:
    """A cone does not move; that is the devkit's rule and no lack of the ground truth."""
    cones = boxes([car(5.0, size=(0.3, 0.3, 0.7), velocity=(math.nan, math.nan))], labels=[8])
    metrics = evaluate_detections({"t": cones}, {"t": truth(cones)})
    assert NUSCENES_CLASSES[8] == "traffic_cone"
    assert metrics.unjudged == ()
    assert metrics.nds == pytest.approx(0.7)
