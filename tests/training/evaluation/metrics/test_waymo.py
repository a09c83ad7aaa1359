"""Waymo's AP and APH against an oracle that follows the definition step by step, and closed forms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from shapely import affinity
from shapely.geometry import Polygon
from shapely.geometry import box as rectangle

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.data.waymo.classes import WAYMO_CLASSES
from lidarloop_training.evaluation.metrics.waymo import (
    WaymoSample,
    area_under_curve,
    as_waymo_types,
    difficulty_levels,
    evaluate_waymo,
    mean_over_types,
)

Floats = npt.NDArray[np.float64]


def boxes(rows: npt.ArrayLike, labels: npt.ArrayLike, scores: npt.ArrayLike | None = None) -> Boxes3D:
    return Boxes3D(np.reshape(rows, (-1, 9)), np.ones(len(labels)) if scores is None else scores, labels, WAYMO_CLASSES)


def random_frame(rng: np.random.Generator) -> WaymoSample:
    n = int(rng.integers(0, 9))
    labels = rng.integers(0, 3, n)
    rows = np.column_stack(
        [
            rng.uniform(0, 15, (n, 2)),
            rng.normal(0, 0.2, n),
            np.array([[4.5, 2, 1.6], [0.9, 0.8, 1.8], [1.8, 0.8, 1.7]])[labels] * rng.uniform(0.9, 1.1, (n, 3)),
            rng.uniform(-7, 7, n),
            np.zeros((n, 2)),
        ]
    )
    twice = np.concatenate([np.nonzero(rng.random(n) < 0.85)[0], np.nonzero(rng.random(n) < 0.3)[0]])
    found = rows[twice] + rng.normal(0, rng.choice([0.02, 0.06]), (len(twice), 9)) * [2, 2, 1, 1, 1, 1, 2, 0, 0]
    found[rng.random(len(twice)) < 0.15, 6] += np.pi
    m = int(rng.integers(0, 3))
    invented = np.column_stack([rng.uniform(0, 15, (m, 3)), rng.uniform(1, 4, (m, 3)), np.zeros((m, 3))])
    return WaymoSample(
        boxes(rows, labels),
        rng.choice([0, 1, 1, 2], n),
        boxes(
            np.concatenate([found, invented]),
            np.concatenate([labels[twice], rng.integers(0, 3, m)]),
            np.round(rng.random(len(twice) + m), int(rng.integers(1, 5))),
        ),
    )


# --- the oracle: every matching tried, the curve walked as the definition says ----------------------------------------


def footprint(value: Floats) -> Polygon:
    x, y, _, length, width, _, yaw = (float(v) for v in value[:7])
    flat = rectangle(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
    return affinity.rotate(flat, yaw, origin=(x, y), use_radians=True)


def oracle_iou(a: Floats, b: Floats) -> float:
    common = footprint(a).intersection(footprint(b)).area
    a, b = a.astype(np.float64), b.astype(np.float64)
    deep = min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2)
    common *= max(deep, 0)
    return float(common / (a[3] * a[4] * a[5] + b[3] * b[4] * b[5] - common))


def best_matching(
    pairs: Sequence[Mapping[int, float]], taken_objects: frozenset[int] = frozenset(), i: int = 0
) -> tuple[float, list[tuple[int, int]]]:
    """(sum of IoU, pairs) of the best matching, by trying all: pairs[i] = {object: IoU} of detection i."""
    if i == len(pairs):
        return 0.0, []
    best = best_matching(pairs, taken_objects, i + 1)
    for o, iou in pairs[i].items():
        if o not in taken_objects:
            total, rest = best_matching(pairs, taken_objects | {o}, i + 1)
            if total + iou > best[0]:
                best = (total + iou, [(i, o), *rest])
    return best


def oracle_curve(frames: Sequence[WaymoSample], label: int, level: int) -> list[tuple[float, float, float]]:
    """(precision, heading-weighted precision, recall) for each cutoff."""
    threshold = (0.7, 0.5, 0.5)[label]
    prepared = []
    for f in frames:
        objects = [i for i in range(len(f.objects)) if f.objects.labels[i] == label and f.level[i] > 0]
        found = [i for i in range(len(f.detections)) if f.detections.labels[i] == label]
        iou = {(d, o): oracle_iou(f.detections.values[d], f.objects.values[o]) for d in found for o in objects}
        prepared.append((f, objects, found, {pair: v for pair, v in iou.items() if v >= threshold}))
    points = []
    for cutoff in [np.float32(i * 0.01) for i in range(100)] + [np.float32(1)]:
        tp = fp = fn = 0
        heading = 0.0
        for f, objects, found, iou in prepared:
            shown = [d for d in found if f.detections.scores[d] >= cutoff]
            _, pairs = best_matching([{o: iou[d, o] for o in objects if (d, o) in iou} for d in shown])
            tp += len(pairs)
            fp += len(shown) - len(pairs)
            for i, o in pairs:
                turn = abs(float(f.detections.values[shown[i], 6]) - float(f.objects.values[o, 6])) % (2 * math.pi)
                heading += 1 - min(turn, 2 * math.pi - turn) / math.pi
            hit = {o for _, o in pairs}
            fn += sum(o not in hit and f.level[o] <= level for o in objects)
        recall = tp / (tp + fn) if tp + fn else 0.0
        num_shown = tp + fp
        points.append((1.0, 1.0, 0.0) if recall == 0 else (tp / num_shown, heading / num_shown, recall))
    return points


def oracle_area(precisions: Sequence[float], recalls: Sequence[float]) -> float:
    best_at = {0.0: 1.0}
    for p, r in zip(precisions, recalls, strict=True):
        best_at[r] = max(best_at.get(r, 0.0), p)
    curve, last, best = [], min(best_at), 0.0
    for r in sorted(best_at, reverse=True):
        while last - r > 0.05 + 1e-6:
            last -= 0.05
            curve.append((best, last))
        best = max(best, best_at[r])
        curve.append((best, r))
        last = r
    if len(curve) < 2:
        return 0.0
    curve[-1] = (curve[-2][0], curve[-1][1])
    return sum(0.5 * (a[1] - b[1]) * (a[0] + b[0]) for a, b in itertools.pairwise(curve))


def test_agrees_with_the_oracle() -> None:
    compared = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        frames = [random_frame(rng) for _ in range(rng.integers(1, 7))]
        for row in evaluate_waymo(frames):
            if row.num_objects == 0:
                assert math.isnan(row.ap)
                continue
            ap, aph, recall = zip(*oracle_curve(frames, WAYMO_CLASSES.index(row.type_name), row.level), strict=True)
            assert row.ap == pytest.approx(oracle_area(ap, recall), abs=1e-6)
            assert row.aph == pytest.approx(oracle_area(aph, recall), abs=1e-6)
            compared += 0 < row.aph < row.ap < 1
    assert compared > 100


def test_the_area_against_the_walk() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        k = int(rng.integers(1, 30))
        recall = np.round(rng.random(k), int(rng.integers(1, 4))) * rng.choice([0.2, 1.0])
        precision = np.where(recall == 0, 1.0, rng.random(k))
        assert area_under_curve(precision, recall) == pytest.approx(oracle_area(precision, recall), abs=1e-12)


# --- closed forms -----------------------------------------------------------------------------------------------------


def vehicles(n: int, scores: npt.ArrayLike | None = None, yaw: float = 0.0, offset_m: float = 0.0) -> Boxes3D:
    rows = np.zeros((n, 9))
    rows[:, 0] = np.arange(n) * 10.0 + offset_m
    rows[:, 3:6], rows[:, 6] = (4.5, 2.0, 1.6), yaw
    return boxes(rows, np.zeros(n, int), scores)


def score(objects: Boxes3D, detections: Boxes3D, levels: npt.ArrayLike = 1) -> list[tuple[float, float]]:
    """(AP, APH) of vehicles at levels 1 and 2."""
    rows = evaluate_waymo([WaymoSample(objects, np.broadcast_to(levels, len(objects)), detections)])
    return [(row.ap, row.aph) for row in rows if row.type_name == "vehicle"]


def test_perfect_detections() -> None:
    assert score(vehicles(20), vehicles(20, np.linspace(0.1, 0.9, 20))) == [pytest.approx((1, 1))] * 2


@pytest.mark.parametrize(("turn", "aph"), [(np.pi, 0.0), (np.pi / 2, 0.5), (2 * np.pi, 1.0)])
def test_heading_weighs(turn: float, aph: float) -> None:
    # Squares, so that turning changes no overlap.
    objects, detections = vehicles(20), vehicles(20, np.linspace(0.1, 0.9, 20), yaw=turn)
    for each in (objects, detections):
        each.values[:, 3:5] = 2.0
    assert score(objects, detections)[0] == (pytest.approx(1), pytest.approx(aph, abs=1e-6))


def test_half_of_them_invented() -> None:
    detections = vehicles(40, np.full(40, 0.5))
    assert score(vehicles(20), detections)[0][0] == pytest.approx(0.5)


def test_half_of_them_found() -> None:
    assert score(vehicles(40), vehicles(20, np.full(20, 0.5)))[0][0] == pytest.approx(0.5)


def test_missed_objects_of_level_2_do_not_lower_level_1() -> None:
    levels = np.array([1] * 10 + [2] * 10)
    first_ten = vehicles(10, np.full(10, 0.5))
    assert [ap for ap, _ in score(vehicles(20), first_ten, levels)] == [pytest.approx(1.0), pytest.approx(0.5)]
    # Found ones of level 2 count as found at level 1 too: 10 of (10 found + 10 missed of level 1).
    last_ten = vehicles(10, np.full(10, 0.5), offset_m=100)
    assert [ap for ap, _ in score(vehicles(20), last_ten, levels)] == [pytest.approx(0.5), pytest.approx(0.5)]


def test_the_matching_is_the_best_as_a_whole() -> None:
    """Greedily by overlap the first detection would take the first object and leave the second unfound."""
    objects = vehicles(2)
    objects.values[:, 0] = 0, 0.5
    detections = vehicles(2, [0.9, 0.8])
    detections.values[:, 0] = 0.2, -0.6
    assert score(objects, detections)[0][0] == pytest.approx(1)


def test_nothing_there_and_nothing_found() -> None:
    assert score(vehicles(5), vehicles(0))[0] == (0.0, 0.0)
    assert math.isnan(score(vehicles(0), vehicles(3))[0][0])
    assert math.isnan(score(vehicles(5), vehicles(5), levels=0)[0][0])


def test_levels_by_points() -> None:
    points = np.array([0, 1, 5, 6, 100, -1, 50, 0])
    assert difficulty_levels(points).tolist() == [0, 2, 2, 1, 1, 1, 1, 0]
    assert difficulty_levels(points, np.array([0, 0, 1, 2, 0, 0, 2, 1])).tolist() == [0, 2, 1, 2, 1, 1, 2, 0]


def test_types_of_the_nuscenes_classes() -> None:
    given = Boxes3D(np.arange(90).reshape(10, 9), np.linspace(0, 1, 10), np.arange(10), NUSCENES_CLASSES)
    found, rows = as_waymo_types(given)
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert found.names == ["vehicle"] * 5 + ["pedestrian", "vehicle", "cyclist"]
    np.testing.assert_array_equal(found.values, given.values[:8])


def test_mean_over_types_leaves_out_absent_ones() -> None:
    rows = evaluate_waymo([WaymoSample(vehicles(10), np.ones(10, int), vehicles(10, np.full(10, 0.5)))])
    assert mean_over_types(rows, 2) == pytest.approx((1, 1))
    assert math.isnan(mean_over_types(evaluate_waymo([]), 1)[0])
