"""KITTI's AP against an oracle that follows the benchmark's definition object by object, and closed forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from shapely import affinity
from shapely.geometry import Polygon
from shapely.geometry import box as rectangle

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.metrics.kitti import KittiSample, evaluate_kitti, recall_thresholds
from lidarloop_training.evaluation.metrics.overlap import bev_and_3d_iou

Floats = npt.NDArray[np.float64]

NAMES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
SIZES = {"Car": (3.9, 1.6, 1.5), "Van": (5, 1.9, 2.2), "Pedestrian": (0.9, 0.7, 1.8), "Cyclist": (1.8, 0.6, 1.7)}


def boxes(rows: npt.ArrayLike, names: Sequence[str], scores: npt.ArrayLike | None = None) -> Boxes3D:
    labels = [NAMES.index(name) for name in names]
    return Boxes3D(np.reshape(rows, (-1, 9)), np.ones(len(labels)) if scores is None else scores, labels, NAMES)


def random_frame(rng: np.random.Generator) -> KittiSample:
    n = int(rng.integers(0, 16))
    names = rng.choice(NAMES, n, p=[0.4, 0.1, 0.05, 0.2, 0.05, 0.15, 0.02, 0.03])
    sizes = np.array([SIZES.get(name, (1.0, 0.8, 1.4)) for name in names]).reshape(-1, 3)
    rows = np.column_stack(
        [
            rng.uniform(0, 30, (n, 2)),
            rng.normal(-1, 0.2, n),
            sizes * rng.uniform(0.9, 1.1, (n, 3)),
            rng.uniform(-4, 4, n),
            np.zeros((n, 2)),
        ]
    )
    heights = rng.uniform(15, 90, n)
    kept = np.concatenate([np.nonzero(rng.random(n) < 0.85)[0], rng.integers(0, max(n, 1), n // 3)]).astype(int)[
        : 99 if n else 0
    ]
    noise = rng.choice([0.01, 0.03, 0.08])
    found = rows[kept] + rng.normal(0, noise, (len(kept), 9)) * [2, 2, 1, 1, 1, 1, 0.5, 0, 0]
    turned = rng.random(len(kept)) < 0.1
    found[turned, 6] += np.pi
    found_names = np.where(rng.random(len(kept)) < 0.9, names[kept], rng.choice(NAMES, len(kept)))
    m = int(rng.integers(0, 5))
    invented = np.column_stack(
        [rng.uniform(0, 30, (m, 2)), np.full((m, 1), -1), rng.uniform(1, 4, (m, 3)), np.zeros((m, 3))]
    )
    scores = rng.choice([0.2, 0.4, 0.6], len(kept) + m) if rng.random() < 0.2 else rng.random(len(kept) + m)
    return KittiSample(
        objects=boxes(rows, names),
        object_height_px=heights,
        occlusion=rng.choice([0, 0, 1, 2, 3], n),
        truncation=rng.choice([0.0, 0.1, 0.2, 0.4, 0.9], n, p=[0.6, 0.1, 0.1, 0.1, 0.1]),
        detections=boxes(
            np.concatenate([found, invented]), [*found_names, *rng.choice(["Car", "Pedestrian", "Cyclist"], m)], scores
        ),
        detection_height_px=np.concatenate([heights[kept] + rng.normal(0, 4, len(kept)), rng.uniform(15, 90, m)]),
    )


# --- the oracle: the definition in plain Python, overlaps by shapely --------------------------------------------------


def footprint(value: Floats) -> Polygon:
    x, y, _, length, width, _, yaw = (float(v) for v in value[:7])
    flat = rectangle(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
    return affinity.rotate(flat, yaw, origin=(x, y), use_radians=True)


def oracle_overlap(a: Floats, b: Floats, space: Literal["bev", "3d"]) -> float:
    one, other = footprint(a), footprint(b)
    common = one.intersection(other).area
    if space == "bev":
        return common / one.union(other).area
    a, b = a.astype(np.float64), b.astype(np.float64)
    deep = min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2)
    common *= max(deep, 0)
    return common / (a[3] * a[4] * a[5] + b[3] * b[4] * b[5] - common)


def oracle_clean(frame: KittiSample, wanted: str, level: int) -> tuple[list[int], list[int]]:
    """The benchmark's lists: 0 counts, 1 is ignored, -1 is not looked at."""
    min_height, max_occlusion, max_truncation = ((40, 0, 0.15), (25, 1, 0.3), (25, 2, 0.5))[level]
    ignored_gt, ignored_det = [], []
    for i, name in enumerate(frame.objects.names):
        ignore = (
            frame.occlusion[i] > max_occlusion
            or frame.truncation[i] > max_truncation
            or frame.object_height_px[i] < min_height
        )
        valid = 1 if name == wanted else 0 if (wanted, name) in NEIGHBORS else -1
        ignored_gt.append(0 if valid == 1 and not ignore else 1 if valid == 0 or (ignore and valid == 1) else -1)
    for name, height in zip(frame.detections.names, frame.detection_height_px, strict=True):
        ignored_det.append(1 if int(height) < min_height else 0 if name == wanted else -1)
    return ignored_gt, ignored_det


NEIGHBORS = {("Car", "Van"), ("Pedestrian", "Person_sitting")}


def oracle_statistics(
    frame: KittiSample,
    overlap: list[list[float]],
    ignored_gt: list[int],
    ignored_det: list[int],
    min_overlap: float,
    threshold: float | None,
) -> tuple[list[float], int, int]:
    """True positives with their scores, false positives, false negatives; threshold None collects scores."""
    assigned: set[int] = set()
    hits: list[float] = []
    missed = 0
    scores = [float(s) for s in frame.detections.scores]
    low = {j for j, s in enumerate(scores) if threshold is not None and s < threshold}
    for i, role in enumerate(ignored_gt):
        if role == -1:
            continue
        chosen, max_overlap, took_ignored = -1, 0.0, False
        valid: float | None = None
        for j in range(len(scores)):
            if ignored_det[j] == -1 or j in assigned or j in low:
                continue
            o = overlap[j][i]
            if o <= min_overlap:
                continue
            if threshold is None:
                if valid is None or scores[j] > valid:
                    chosen, valid = j, scores[j]
            elif (o > max_overlap or took_ignored) and ignored_det[j] == 0:
                chosen, valid, max_overlap, took_ignored = j, 1, o, False
            elif valid is None and ignored_det[j] == 1:
                chosen, valid, took_ignored = j, 1, True
        if valid is None:
            missed += role == 0
        elif role == 1 or ignored_det[chosen] == 1:
            assigned.add(chosen)
        else:
            hits.append(scores[chosen])
            assigned.add(chosen)
    wrong = sum(ignored_det[j] == 0 and j not in assigned and j not in low for j in range(len(scores)))
    return hits, wrong, missed


def oracle_overlaps(frames: Sequence[KittiSample], space: Literal["bev", "3d"]) -> list[list[list[float]]]:
    return [[[oracle_overlap(d, g, space) for g in f.objects.values] for d in f.detections.values] for f in frames]


def oracle_ap(frames: Sequence[KittiSample], overlaps: Sequence[list[list[float]]], wanted: str, level: int) -> float:
    min_overlap = {"Car": 0.7}.get(wanted, 0.5)
    clean = [oracle_clean(f, wanted, level) for f in frames]
    total = sum(gt.count(0) for gt, _ in clean)
    if total == 0:
        return math.nan
    found = []
    for f, overlap, lists in zip(frames, overlaps, clean, strict=True):
        found += oracle_statistics(f, overlap, *lists, min_overlap, None)[0]
    found.sort(reverse=True)
    thresholds, current = [], 0.0
    for i, score in enumerate(found):
        left = (i + 1) / total
        right = (i + 2) / total if i < len(found) - 1 else left
        if right - current < current - left and i < len(found) - 1:
            continue
        thresholds.append(score)
        current += 1 / 40
    precision = [0.0] * 41
    for t, threshold in enumerate(thresholds):
        tp = fp = 0
        for f, overlap, lists in zip(frames, overlaps, clean, strict=True):
            hits, wrong, _ = oracle_statistics(f, overlap, *lists, min_overlap, threshold)
            tp, fp = tp + len(hits), fp + wrong
        precision[t] = tp / (tp + fp) if tp + fp else 0.0
    for i in range(len(thresholds)):
        precision[i] = max(precision[i:])
    return 100 * sum(precision[1:]) / 40


def test_agrees_with_the_oracle() -> None:
    compared = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        frames = [random_frame(rng) for _ in range(rng.integers(1, 9))]
        overlaps = {space: oracle_overlaps(frames, space) for space in ("bev", "3d")}
        for row in evaluate_kitti(frames):
            level = ("easy", "moderate", "hard").index(row.difficulty)
            for ours, space in ((row.ap_bev, "bev"), (row.ap_3d, "3d")):
                theirs = oracle_ap(frames, overlaps[space], row.class_name, level)
                assert ours == pytest.approx(theirs, abs=1e-9, nan_ok=True)
                compared += 0 < ours < 100
    assert compared > 120  # and not all trivial


# --- closed forms -----------------------------------------------------------------------------------------------------


def cars(
    n: int,
    scores: npt.ArrayLike | None = None,
    offset_m: float = 0.0,
    step_m: float = 10.0,
    name: str = "Car",
) -> Boxes3D:
    rows = np.zeros((n, 9))
    rows[:, 0] = np.arange(n) * step_m + offset_m
    rows[:, 3:6] = SIZES["Car"]
    return boxes(rows, [name] * n, scores)


def frame(
    objects: Boxes3D,
    detections: Boxes3D,
    occlusion: int = 0,
    truncation: float = 0.0,
    height_px: npt.ArrayLike = 60.0,
    detection_height_px: npt.ArrayLike = 60.0,
) -> KittiSample:
    n, m = len(objects), len(detections)
    return KittiSample(
        objects,
        np.full(n, height_px),
        np.full(n, occlusion),
        np.full(n, truncation),
        detections,
        np.full(m, detection_height_px),
    )


def car_aps(*frames: KittiSample) -> list[tuple[float, float]]:
    return [(row.ap_bev, row.ap_3d) for row in evaluate_kitti(frames) if row.class_name == "Car"]


def test_perfect_detections_have_100() -> None:
    assert car_aps(frame(cars(60), cars(60, np.linspace(0.2, 0.9, 60)))) == [(100.0, 100.0)] * 3


def test_few_objects_cannot_have_100() -> None:
    assert car_aps(frame(cars(11), cars(11, np.linspace(0.2, 0.9, 11))))[0] == (25.0, 25.0)


def test_nothing_found_has_0_and_nothing_there_has_none() -> None:
    assert car_aps(frame(cars(50), cars(0)))[0] == (0.0, 0.0)
    assert math.isnan(car_aps(frame(cars(0), cars(3)))[0][0])


def test_inventions_above_all_else_halve_precision() -> None:
    detections = cars(100, np.concatenate([np.full(50, 0.5), np.full(50, 0.9)]))  # the last 50 stand where nothing is
    assert car_aps(frame(cars(50), detections))[0] == (50.0, 50.0)


def test_one_invention_below_all_costs_nothing() -> None:
    assert car_aps(frame(cars(50), cars(51, [*np.linspace(0.5, 0.9, 50), 0.1])))[0] == (100.0, 100.0)


def test_height_counts_in_space_alone() -> None:
    raised = cars(50, np.linspace(0.2, 0.9, 50))
    raised.values[:, 2] += 0.3  # 1.2 m of 1.5 m in common: IoU 2/3
    assert car_aps(frame(cars(50), raised))[0] == (100.0, 0.0)


def test_vans_are_neither_right_nor_wrong() -> None:
    both = boxes(np.concatenate([cars(50).values, cars(20, offset_m=5, step_m=10).values]), ["Car"] * 50 + ["Van"] * 20)
    found = cars(100, np.linspace(0.9, 0.2, 100), step_m=5.0)[np.r_[0:100:2, 1:40:2]]
    assert car_aps(frame(both, found))[0] == (100.0, 100.0)
    assert car_aps(frame(cars(50), found))[0][1] < 100.0


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"occlusion": 1}, [False, True, True]),
        ({"occlusion": 2}, [False, False, True]),
        ({"occlusion": 3}, [False, False, False]),
        ({"truncation": 0.4}, [False, False, True]),
        ({"height_px": 39.9}, [False, True, True]),
        ({"height_px": 24.9}, [False, False, False]),
    ],
)
def test_what_counts_at_which_difficulty(attributes: dict[str, Any], expected: list[int]) -> None:
    rows = [row for row in evaluate_kitti([frame(cars(5), cars(0), **attributes)]) if row.class_name == "Car"]
    assert [row.num_objects == 5 for row in rows] == expected


def test_detections_too_low_in_the_picture_are_ignored() -> None:
    low = frame(cars(0), cars(30, np.full(30, 0.99)), detection_height_px=24.0)
    good = frame(cars(50), cars(50, np.linspace(0.2, 0.9, 50)))
    assert car_aps(low, good) == [(100.0, 100.0)] * 3


def test_thresholds_are_at_most_41_and_fall() -> None:
    thresholds = recall_thresholds(np.random.default_rng(0).random(1000), 1200)
    assert len(thresholds) == 35  # recalls 0, 1/40, … 33/40, and the last one found
    assert (np.diff(thresholds) < 0).all()
    assert len(recall_thresholds(np.linspace(0, 1, 41), 41)) == 41


def test_overlap_of_boxes_against_shapely() -> None:
    rng = np.random.default_rng(1)
    a = np.column_stack([rng.normal(0, 1, (20, 3)), rng.uniform(0.5, 4, (20, 3)), rng.uniform(-4, 4, 20)])
    b = np.column_stack([rng.normal(0, 1, (15, 3)), rng.uniform(0.5, 4, (15, 3)), rng.uniform(-4, 4, 15)])
    for space, ours in zip(("bev", "3d"), bev_and_3d_iou(a, b), strict=True):
        theirs = [[oracle_overlap(x, y, space) for y in b] for x in a]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
