from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.labelling.selection.frame_value import FrameValueConfig, FrameValueRater, scene_key

CLASS_NAMES = ("car", "bicycle")


def boxes(*rows: tuple[float, float, str, float]) -> Boxes3D:
    """x, y, class, score of each."""
    values = np.zeros((len(rows), 9), np.float32)
    values[:, 3:6] = 1
    for i, (x, y, _, _) in enumerate(rows):
        values[i, :2] = x, y
    labels = [CLASS_NAMES.index(name) for _, _, name, _ in rows]
    return Boxes3D(values, [score for *_, score in rows], labels, CLASS_NAMES)


def town(seed: int) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(seed)
    ground = np.column_stack([random.uniform(-50, 50, (3000, 2)), np.full(3000, -1.8)])
    walls = [
        np.column_stack([np.full(300, x), random.uniform(y, y + 15, 300), random.uniform(-1.8, 4, 300)])
        for x, y in random.uniform(-45, 45, (12, 2))
    ]
    return np.concatenate([ground, *walls]).astype(np.float32)


def rater(points: npt.NDArray[np.float32], *seen: str) -> FrameValueRater:
    """One that knows the scene and has seen some labels, so that neither novelty nor rarity speak."""
    result = FrameValueRater()
    result.remember(points)
    for name in seen:
        result.rate(boxes(*[(0, 0, name, 1.0)] * 50), np.ones(50, np.float32), None, points)
    return result


def test_agreement_is_worth_nothing() -> None:
    points = town(0)
    labels = boxes(*[(10 * i, 0, "car", 0.9) for i in range(6)])
    found = rater(points, "car").rate(labels, np.ones(6, np.float32), labels, points)
    assert (found.value, found.reasons) == (0.0, ())


def test_disagreement_counts_both_ways_and_names_them() -> None:
    points = town(0)
    labels = boxes(*[(10 * i, 0, "car", 0.9) for i in range(6)])
    elsewhere = boxes(*[(10 * i, 7, "car", 0.9) for i in range(4)])
    found = rater(points, "car").rate(labels, np.ones(6, np.float32), elsewhere, points)
    assert found.value == pytest.approx(10 / 12)
    assert found.reasons == ("disagreement: 6 labels without a detection, 4 detections without a label",)
    # Labels of no quality are no finding.
    assert rater(points, "car").rate(labels, np.zeros(6, np.float32), elsewhere[:0], points).value == 0.0


def test_a_wrong_class_is_a_disagreement() -> None:
    points = town(0)
    labels, other = (
        boxes(*[(9 * i, 0, "car", 0.9) for i in range(8)]),
        boxes(*[(9 * i, 0, "bicycle", 0.9) for i in range(8)]),
    )
    assert rater(points, "car").rate(labels, np.ones(8, np.float32), other, points).value == pytest.approx(16 / 18)


def test_an_unsure_detector() -> None:
    points = town(0)
    hesitant = boxes(*[(10 * i, 0, "car", 0.3) for i in range(8)])
    found = rater(points, "car").rate(hesitant, np.ones(8, np.float32), hesitant, points)
    assert found.value == pytest.approx(8 / 10)
    assert found.reasons == ("low confidence: 8 of 8 detections",)


def test_a_rare_class_until_it_is_common() -> None:
    points = town(0)
    known = rater(points, "car", "car", "car")
    cyclist = boxes((5, 5, "bicycle", 0.9))
    values = [known.rate(cyclist, np.ones(1, np.float32), None, points).value for _ in range(6)]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0.0  # 3 of 153 are 2 %


def test_a_scene_is_novel_once() -> None:
    result = FrameValueRater()
    nothing = boxes()
    first = result.rate(nothing, np.zeros(0, np.float32), nothing, town(0))
    assert (first.value, first.reasons) == (1.0, ("novel scene: the first",))
    result.remember(town(0))
    assert result.rate(nothing, np.zeros(0, np.float32), nothing, town(0)).value == 0.0
    empty = result.rate(nothing, np.zeros(0, np.float32), nothing, np.zeros((0, 4), np.float32))
    assert empty.value > 0.2


@given(st.floats(-np.pi, np.pi), st.integers(0, 5))
def test_the_scene_key_does_not_depend_on_the_heading(yaw: float, seed: int) -> None:
    points = town(seed)
    turned = points.copy()
    turned[:, 0] = np.cos(yaw) * points[:, 0] - np.sin(yaw) * points[:, 1]
    turned[:, 1] = np.sin(yaw) * points[:, 0] + np.cos(yaw) * points[:, 1]
    assert np.abs(scene_key(turned) - scene_key(points)).mean() < 0.03
    assert np.abs(scene_key(town(seed + 100)) - scene_key(points)).mean() < FrameValueConfig().novelty_distance


def test_different_places_differ_more_than_headings() -> None:
    keys = [scene_key(town(seed)) for seed in range(6)]
    between = [np.abs(a - b).mean() for i, a in enumerate(keys) for b in keys[:i]]
    assert min(between) > 0.03
