from __future__ import annotations

import numpy as np

from benchmarks.streets.domain import GROUPS, INTENSITY, patch_features, separability
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import Sample, Sweep


def _sets(shift: float, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal((300, INTENSITY.stop)) for _ in range(4)]
    return [np.concatenate([v[:, : INTENSITY.start], v[:, INTENSITY] + shift], axis=1) for v in values]


def test_equal_distributions_cannot_be_told_apart() -> None:
    for accuracy in separability(_sets(0.0, 1), _sets(0.0, 2)).values():
        assert 0.42 < accuracy < 0.58


def test_the_group_that_differs_tells_them_apart() -> None:
    found = separability(_sets(0.0, 1), _sets(3.0, 2))
    assert set(found) == set(GROUPS)
    assert found["intensity"] > 0.99
    assert found["both"] > 0.95
    assert 0.42 < found["geometry"] < 0.58


def test_features_of_a_patch_are_its_own() -> None:
    """A flat square of 30 × 30 points, 0.1 m apart: its spacing, its flatness, its intensity."""
    x, y = np.meshgrid(12.05 + 0.1 * np.arange(30), 0.05 + 0.1 * np.arange(30))
    points = np.column_stack([x.ravel(), y.ravel(), np.full(900, -1.5), np.full(900, 77)]).astype(np.float32)
    far = np.array([[100.0, 0, 0, 1]], np.float32)
    sweep = Sweep(np.concatenate([points, far]), ("x", "y", "z", "intensity"), 0, SE3.identity(), None)
    (features,) = patch_features([Sample("a", "a", 0, (sweep,))])
    assert features.shape == (1, INTENSITY.stop)
    np.testing.assert_allclose(features[0, :2], [np.hypot(13.5, 1.5), np.log(900)], rtol=1e-4)
    np.testing.assert_allclose(features[0, 2:7], 0.0, atol=1e-6)
    np.testing.assert_allclose(features[0, 7:10], np.log(0.101), atol=1e-3)
    np.testing.assert_allclose(features[0, INTENSITY], 77.0)
