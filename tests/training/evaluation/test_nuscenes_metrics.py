"""The metrics against the official devkit, closed forms and invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.evaluation.matching import UNMATCHED, DetectionConfig, GroundTruth, match_detections
from lidarloop_training.evaluation.nuscenes_metrics import (
    TP_ERRORS,
    DetectionMetrics,
    average_precision,
    evaluate_detections,
    match_errors,
    precision_recall,
)

CONFIG = DetectionConfig()
DEVKIT_ERRORS = dict(zip(TP_ERRORS, ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"), strict=True))


def boxes(rows, scores=None, labels=None):
    values = np.array(rows, dtype=np.float32).reshape(-1, 9)
    return Boxes3D(
        values,
        np.ones(len(values)) if scores is None else scores,
        np.zeros(len(values), int) if labels is None else labels,
        NUSCENES_CLASSES,
    )


def truth(objects: Boxes3D, num_lidar_pts=None, ego_xy_m=(0.0, 0.0)) -> GroundTruth:
    points = np.full(len(objects), 10) if num_lidar_pts is None else np.asarray(num_lidar_pts)
    return GroundTruth(objects, points, np.full(len(objects), np.nan, np.float32), np.asarray(ego_xy_m, float))


def car(x, y=0.0, yaw=0.0, size=(4.0, 2.0, 1.5), velocity=(0.0, 0.0)):
    return [x, y, 0.0, *size, yaw, *velocity]


def random_case(rng: np.random.Generator, num_frames=6, num_classes=10):
    """Noisy copies of random objects, misses, inventions, tied scores, NaN velocities, far and unhit objects."""
    predictions, ground_truth = {}, {}
    for frame in range(num_frames):
        n = int(rng.integers(0, 25))
        values = np.column_stack(
            [
                rng.uniform(-60, 60, (n, 2)) * rng.choice([0.4, 1.0], (n, 1)),
                rng.normal(0, 1, n),
                rng.uniform(0.3, 8, (n, 3)),
                rng.uniform(-4, 4, n),
                rng.normal(0, 4, (n, 2)),
            ]
        )
        values[rng.random(n) < 0.1, 7:9] = np.nan
        labels = rng.integers(0, num_classes, n)
        ego = rng.uniform(-5, 5, 2)
        ground_truth[f"t{frame}"] = truth(boxes(values, labels=labels), rng.integers(0, 9, n), ego)

        kept = rng.random(n) < 0.8
        noisy = values[kept] + rng.normal(0, 1, (kept.sum(), 9)) * rng.choice([0.1, 0.7, 2.0])
        noisy[:, 3:6] = values[kept][:, 3:6] * rng.uniform(0.7, 1.4, (kept.sum(), 3))
        found = np.where(rng.random(kept.sum()) < 0.9, labels[kept], rng.integers(0, 10, kept.sum()))
        m = int(rng.integers(0, 12))
        invented = np.column_stack(
            [rng.uniform(-50, 50, (m, 3)), rng.uniform(0.3, 8, (m, 3)), rng.uniform(-4, 4, m), np.zeros((m, 2))]
        )
        rows = np.concatenate([noisy, noisy[: m // 2], invented])  # some of them twice
        classes = np.concatenate([found, found[: m // 2], rng.integers(0, 10, m)])
        order = rng.permutation(len(rows))
        scores = rng.choice([0.0, 0.25, 0.5, 0.75], len(rows)) if rng.random() < 0.3 else rng.random(len(rows))
        predictions[f"t{frame}"] = boxes(rows[order], scores, classes[order])
    return predictions, ground_truth


# --- the devkit as oracle ---------------------------------------------------------------------------------------------


def devkit_boxes(frames: dict[str, Boxes3D], egos: dict[str, np.ndarray], points=None, attribute=""):
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox
    from pyquaternion import Quaternion

    result = EvalBoxes()
    for token, frame in frames.items():
        converted = []
        for i in range(len(frame)):
            x, y, z, length, width, height, yaw, vx, vy = frame.values[i].astype(np.float64).tolist()
            name = NUSCENES_CLASSES[frame.labels[i]]
            box = DetectionBox(
                sample_token=token,
                translation=(x, y, z),
                size=(width, length, height),
                rotation=tuple(Quaternion(axis=[0, 0, 1], radians=yaw)),
                velocity=(vx, vy),
                ego_translation=(x - egos[token][0], y - egos[token][1], 0.0),
                num_pts=-1 if points is None else int(points[token][i]),
                detection_name=name,
                detection_score=float(frame.scores[i]) if points is None else -1.0,
                attribute_name=attribute,
            )
            in_range = box.ego_dist < CONFIG.class_range_m[name]  # filter_eval_boxes without its bicycle racks
            if in_range and box.num_pts != 0:
                converted.append(box)
        result.add_boxes(token, converted)
    return result


def devkit_metrics(predictions, ground_truth, attribute=""):
    """DetectionEval.evaluate on boxes that need no data set."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
    from nuscenes.eval.detection.data_classes import DetectionMetrics as DevkitMetrics

    config = config_factory("detection_cvpr_2019")
    egos = {token: gt.ego_xy_m for token, gt in ground_truth.items()}
    points = {token: gt.num_lidar_pts for token, gt in ground_truth.items()}
    gt_boxes = devkit_boxes({t: gt.boxes for t, gt in ground_truth.items()}, egos, points, attribute)
    pred_boxes = devkit_boxes(predictions, egos)
    metrics, curves = DevkitMetrics(config), {}
    for name in config.class_names:
        for distance in config.dist_ths:
            data = accumulate(gt_boxes, pred_boxes, name, config.dist_fcn_callable, distance)
            metrics.add_label_ap(name, distance, calc_ap(data, config.min_recall, config.min_precision))
            curves[name, distance] = data
        undefined = {"traffic_cone": ("attr_err", "vel_err", "orient_err"), "barrier": ("attr_err", "vel_err")}
        for error in DEVKIT_ERRORS.values():
            value = calc_tp(curves[name, config.dist_th_tp], config.min_recall, error)
            metrics.add_label_tp(name, error, float("nan") if error in undefined.get(name, ()) else value)
    return metrics, curves


def largest_difference(ours: DetectionMetrics, devkit, curves) -> float:
    pairs = [(ours.mean_ap_all_classes, devkit.mean_ap), (ours.nds_all_classes, devkit.nd_score)]
    pairs += [(ours.errors_all_classes[key], devkit.tp_errors[name]) for key, name in DEVKIT_ERRORS.items()]
    for c in ours.classes:
        for distance, ap in c.average_precision.items():
            pairs.append((ap, devkit.get_label_ap(c.name, distance)))
            pairs += zip(c.curves[distance].precision, curves[c.name, distance].precision, strict=True)
            pairs += zip(c.curves[distance].confidence, curves[c.name, distance].confidence, strict=True)
        for key, name in DEVKIT_ERRORS.items():
            theirs = devkit.get_label_tp(c.name, name)
            assert math.isnan(c.errors[key]) == math.isnan(theirs)
            pairs.append((c.errors[key], theirs))
    difference = np.abs(np.diff(np.array(pairs), axis=1))
    return float(np.nanmax(difference))


def test_agrees_with_the_devkit(record_property):
    pytest.importorskip("nuscenes", reason="needs the nuscenes-devkit")
    worst = 0.0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        predictions, ground_truth = random_case(rng, num_classes=(10 if seed % 3 else 4))  # 4: classes without objects
        # The devkit's two pure cases of attributes: no object has one, or all do and we predict none.
        attribute = "vehicle.moving" if seed % 2 else ""
        ours = evaluate_detections(predictions, ground_truth)
        worst = max(worst, largest_difference(ours, *devkit_metrics(predictions, ground_truth, attribute)))
    record_property("largest_difference", worst)
    print(f"largest difference from the devkit over 60 cases: {worst:.2e}")
    assert worst < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_devkit_at_the_edges(seed):
    pytest.importorskip("nuscenes", reason="needs the nuscenes-devkit")
    _, ground_truth = random_case(np.random.default_rng(seed))
    nothing = {token: Boxes3D.empty(NUSCENES_CLASSES) for token in ground_truth}
    perfect = {
        token: Boxes3D(np.nan_to_num(gt.boxes.values), np.full(len(gt.boxes), 0.5), gt.boxes.labels, NUSCENES_CLASSES)
        for token, gt in ground_truth.items()
    }
    no_objects = {token: truth(Boxes3D.empty(NUSCENES_CLASSES)) for token in ground_truth}
    for predictions, truths in ((nothing, ground_truth), (perfect, ground_truth), (perfect, no_objects)):
        assert largest_difference(evaluate_detections(predictions, truths), *devkit_metrics(predictions, truths)) < 1e-6


def test_the_default_config_is_the_devkits():
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


def test_a_perfect_detector():
    objects = boxes([car(10), car(20, 3, 1.0, velocity=(5, 0))])
    metrics = evaluate_detections({"a": objects}, {"a": truth(objects)})
    assert metrics.mean_ap == pytest.approx(1.0)
    assert metrics.errors == pytest.approx({"ATE": 0, "ASE": 0, "AOE": 0, "AVE": 0, "AAE": 1}, abs=1e-6)
    assert metrics.nds == pytest.approx(0.9)  # attributes are never predicted
    assert metrics.mean_ap_all_classes == pytest.approx(0.1)  # one class of ten


def test_one_of_two_objects_found():
    objects = boxes([car(10), car(20)])
    metrics = evaluate_detections({"a": objects[[0]]}, {"a": truth(objects)})
    # Precision 1 up to recall 0.5: 40 of the 90 recalls above 0.1.
    assert metrics.mean_ap == pytest.approx(40 / 90)


def test_a_detection_at_the_threshold_is_no_match():
    predictions, ground_truth = {"a": boxes([car(10)])}, {"a": truth(boxes([car(11)]))}
    matched = match_detections(predictions, ground_truth, CONFIG).match[:, 0]
    assert (matched != UNMATCHED).tolist() == [False, False, True, True]  # 1 m is not below 1 m


def test_the_better_score_takes_the_object_and_the_other_takes_the_next():
    objects = boxes([car(10), car(11.5)])
    detections = boxes([car(10.1), car(10.0)], scores=[0.4, 0.9])
    matching = match_detections({"a": detections}, {"a": truth(objects)}, CONFIG)
    assert matching.detections.index.tolist() == [1, 0]
    assert matching.match[2].tolist() == [0, 1]
    assert matching.match[0].tolist() == [0, UNMATCHED]


def test_match_errors_in_closed_form():
    detected = np.array([[3, 4, 9, 4, 2, 1, np.pi - 0.1, 3, 0]], float)
    expected = np.array([[0, 0, 0, 2, 2, 2, -np.pi + 0.1, 0, 4]], float)
    errors = {key: value[0] for key, value in match_errors(detected, expected).items()}
    # Overlap 2·2·1 = 4 of volumes 8 and 8.
    assert errors == pytest.approx({"ATE": 5, "ASE": 1 - 4 / 12, "AOE": 0.2, "AVE": 5})
    turned = match_errors(np.array([[*car(0, yaw=np.pi)]]), np.array([car(0)]), yaw_period_rad=np.pi)
    assert turned["AOE"][0] == pytest.approx(0)


def test_a_barrier_may_face_either_way_and_a_car_may_not():
    for name, expected in (("barrier", 0.0), ("car", np.pi)):
        label = [NUSCENES_CLASSES.index(name)]
        metrics = evaluate_detections(
            {"a": boxes([car(9, yaw=np.pi)], labels=label)}, {"a": truth(boxes([car(9)], labels=label))}
        )
        assert metrics.errors["AOE"] == pytest.approx(expected, abs=1e-5)


def test_only_cones_leave_heading_and_velocity_undefined():
    cone = boxes([car(9)], labels=[NUSCENES_CLASSES.index("traffic_cone")])
    metrics = evaluate_detections({"a": cone}, {"a": truth(cone)})
    assert [math.isnan(metrics.errors[key]) for key in TP_ERRORS] == [False, False, True, True, True]
    assert metrics.nds == pytest.approx((5 + 1 + 1) / 10)


def test_range_is_measured_from_the_ego_vehicle():
    objects = boxes([car(60), car(45)])
    there = evaluate_detections({"a": objects}, {"a": truth(objects, ego_xy_m=(30, 0))})
    here = evaluate_detections({"a": objects}, {"a": truth(objects)})
    assert there.classes[0].num_objects == there.classes[0].num_detections == 2
    assert here.classes[0].num_objects == here.classes[0].num_detections == 1


def test_objects_without_points_do_not_count_and_unknown_ones_do():
    objects = boxes([car(10), car(20), car(30)])
    metrics = evaluate_detections({"a": objects[[1]]}, {"a": truth(objects, num_lidar_pts=[0, 5, -1])})
    assert metrics.classes[0].num_objects == 2


def test_other_vocabularies_are_read_by_name():
    objects = boxes([car(10), car(20)], labels=[0, NUSCENES_CLASSES.index("pedestrian")])
    predicted = Boxes3D(objects.values, [0.9, 0.8], [1, 2], ("tram", "car", "pedestrian"))
    metrics = evaluate_detections({"a": predicted}, {"a": truth(objects)})
    assert [c.name for c in metrics.present] == ["car", "pedestrian"]
    assert metrics.mean_ap == pytest.approx(1)


def test_no_objects_at_all_scores_nothing():
    metrics = evaluate_detections({"a": boxes([car(10)])}, {"a": truth(Boxes3D.empty(NUSCENES_CLASSES))})
    assert math.isnan(metrics.mean_ap)
    assert math.isnan(metrics.nds)
    assert metrics.mean_ap_all_classes == 0
    assert math.isnan(evaluate_detections({}, {}).mean_ap)


def test_average_precision_of_a_constant_precision():
    curve = precision_recall(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.6]), 2)
    # After each detection: precision 1, 1/2, 2/3, 1/2 at recall 1/2, 1/2, 1, 1. Between the two recalls it is a line.
    assert curve.precision[[0, 49, 75, 100]] == pytest.approx([1, 1, 0.5 + (2 / 3 - 0.5) / 2, 0.5])
    assert average_precision(np.full(101, 0.55), CONFIG) == pytest.approx(0.5)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_other_tokens_are_refused():
    with pytest.raises(DatasetError, match="lack 1 frames of the ground truth and hold 1"):
        evaluate_detections({"b": boxes([])}, {"a": truth(boxes([]))})


def test_too_many_boxes_are_refused():
    with pytest.raises(DatasetError, match="501 detections; expected at most 500"):
        evaluate_detections({"a": boxes([car(1)] * 501)}, {"a": truth(boxes([]))})


@pytest.mark.parametrize("bad", [car(np.nan), car(1, size=(4, 0, 1)), car(1, yaw=np.inf)])
def test_unusable_boxes_are_refused(bad):
    with pytest.raises(DatasetError, match="frame 'a' holds the prediction box"):
        evaluate_detections({"a": boxes([bad])}, {"a": truth(boxes([]))})


# --- invariants -------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), yaw=st.floats(-3, 3), x=st.floats(-20, 20))
def test_the_frame_of_reference_does_not_matter(seed, yaw, x):
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
def test_a_false_positive_never_helps(seed):
    predictions, ground_truth = random_case(np.random.default_rng(seed), num_frames=2)
    nothing_there = ground_truth | {"empty": truth(Boxes3D.empty(NUSCENES_CLASSES))}
    before = evaluate_detections(predictions | {"empty": Boxes3D.empty(NUSCENES_CLASSES)}, nothing_there)
    after = evaluate_detections(predictions | {"empty": boxes([car(5)], scores=[0.6])}, nothing_there)
    assert after.classes[0].mean_ap <= before.classes[0].mean_ap
    assert [c.mean_ap for c in after.classes[1:]] == [c.mean_ap for c in before.classes[1:]]
