from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.sample import Annotations
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth, Matching, match_detections
from lidarloop_training.evaluation.samples import SampleRecord
from lidarloop_training.pseudolabel import diagnostics

CAR = NUSCENES_CLASSES.index("car")
VEHICLES = ("car",)


def cars(xy: np.ndarray, yaw: np.ndarray | float = 0.0) -> Boxes3D:
    n = len(xy)
    yaws = np.broadcast_to(yaw, n)
    values = np.column_stack([xy, np.zeros(n), np.tile((4.5, 1.8, 1.5), (n, 1)), yaws, np.zeros((n, 2))])
    return Boxes3D(values, np.ones(n), np.full(n, CAR), NUSCENES_CLASSES)


def labels(boxes: Boxes3D) -> PseudoLabels:
    n = len(boxes)
    return PseudoLabels(boxes, np.ones(n), np.ones(n, int), ((),) * n, ("lane",) * n)


def ring(n: int, radius_m: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return radius_m * np.column_stack([np.cos(angle), np.sin(angle)])


def matched(found: Boxes3D, true: Boxes3D) -> Matching:
    n = len(true)
    truth = GroundTruth(true, np.full(n, 9), np.full(n, np.nan, np.float32))
    return match_detections({"t": found}, {"t": truth}, DetectionConfig())


@pytest.mark.parametrize(("off_m", "verdict"), [(-0.8, "suspicious"), (0.6, "suspicious"), (0.1, "fine")])
def test_radial_bias_is_the_offset_along_the_line_of_sight(off_m: float, verdict: str) -> None:
    true = ring(12, 20.0)

    found = diagnostics.radial_bias(matched(cars(ring(12, 20.0 + off_m)), cars(true)))

    assert found.value == pytest.approx(off_m, abs=1e-5)
    assert found.verdict == verdict


def test_an_offset_across_the_line_of_sight_is_no_radial_bias() -> None:
    true = ring(12, 20.0)
    across = np.column_stack([-true[:, 1], true[:, 0]]) / 20.0

    found = diagnostics.radial_bias(matched(cars(true + across), cars(true)))

    assert found.value == pytest.approx(0.0, abs=1e-5)
    assert found.verdict == "fine"


def test_few_matches_are_not_judged() -> None:
    found = diagnostics.radial_bias(matched(cars(ring(5, 18.0)), cars(ring(5, 20.0))))

    assert found.verdict == "cannot be told"
    assert np.isnan(found.value)


def test_overlapping_labels_of_one_class_are_counted() -> None:
    apart = ring(10, 20.0)
    doubled = np.concatenate([apart, apart[:1] + 0.5])

    assert diagnostics.instance_separation([labels(cars(apart))]).value == 0.0
    found = diagnostics.instance_separation([labels(cars(doubled)), labels(cars(apart))])
    assert found.value == pytest.approx(2 / 21)
    assert found.verdict == "suspicious"


def test_overlap_with_another_class_is_no_fault() -> None:
    boxes = cars(np.concatenate([ring(10, 20.0), ring(10, 20.0)]))
    mixed = dataclasses.replace(boxes, labels=np.repeat([CAR, CAR + 1], 10))

    assert diagnostics.instance_separation([labels(mixed)]).value == 0.0


def frame(token: str, yaw: np.ndarray, xy: np.ndarray, ego_yaw_rad: float = 0.0) -> SampleRecord:
    """Cars of given yaws in the world, seen from an ego that heads anywhere."""
    pose = SE3.from_yaw(ego_yaw_rad)
    n = len(xy)
    names = tuple(f"car {i}" for i in range(n))
    boxes = cars(xy, yaw).transformed(pose.inverse())
    annotations = Annotations(boxes, names, np.full(n, 9), np.full(n, np.nan, np.float32))
    return SampleRecord(0, token, "scene", SE3.identity(), pose, annotations)


def test_yaw_rates_are_those_in_the_world_whatever_the_ego_does() -> None:
    rates = np.linspace(-0.6, 0.6, 5)
    frames = [frame(f"{k}", 3.0 + 0.5 * k * rates, ring(5, 20.0), ego_yaw_rad=0.9 * k) for k in range(4)]

    found = diagnostics.yaw_rates(frames, {f"{k}": 500_000_000 * k for k in range(4)})

    for rate in found.values():
        np.testing.assert_allclose(rate, rates, atol=1e-5)


def test_headings_that_are_wrong_in_turns_are_suspicious() -> None:
    xy = ring(30, 20.0)
    rates = np.repeat([0.5, 0.0], 15)
    frames = [frame("before", np.zeros(30), xy), frame("t", rates, xy)]
    stamps = {"before": 0, "t": 1_000_000_000}
    true = frames[1].ground_truth().boxes

    def judge(error_rad: np.ndarray) -> diagnostics.Diagnostic:
        wrong = true.values.copy()
        wrong[:, 6] += error_rad
        matching = matched(dataclasses.replace(true, values=wrong), true)
        return diagnostics.turning_headings(matching, frames, stamps, VEHICLES)

    in_turns, everywhere, flipped = judge(0.4 * rates / 0.5), judge(np.full(30, 0.4)), judge(np.pi * rates / 0.5)
    assert in_turns.value == pytest.approx(np.degrees(0.4), abs=1e-2)
    assert in_turns.verdict == "suspicious"
    assert everywhere.verdict == "fine"
    assert flipped.verdict == "fine"  # the axis is right


def test_lanes_that_lead_elsewhere_are_counted_modulo_half_a_turn() -> None:
    lane = np.zeros(20)
    track = np.concatenate([np.zeros(10), np.full(6, np.pi), np.full(4, np.pi / 2)])

    found = diagnostics.lane_disagreement(track, lane)

    assert found.value == pytest.approx(0.2)
    assert found.verdict == "suspicious"
    assert diagnostics.lane_disagreement(track, np.full(20, np.nan)).verdict == "cannot be told"


def test_classes_that_were_asked_for_and_not_found_are_named() -> None:
    found = diagnostics.unfound_classes(("car", "bus", "barrier"), {"car": 50, "barrier": 1})

    assert (found.value, found.note, found.verdict) == (1.0, "bus", "suspicious")


@pytest.mark.parametrize(("num_labels", "verdict"), [(100, "fine"), (10, "suspicious"), (300, "suspicious")])
def test_the_worst_class_tells_the_imbalance(num_labels: int, verdict: str) -> None:
    found = diagnostics.class_imbalance({"car": 90, "bus": num_labels}, {"car": 100, "bus": 100, "truck": 3})

    assert found.verdict == verdict
    assert found.note == "bus" if verdict == "suspicious" else found.note == "car"
