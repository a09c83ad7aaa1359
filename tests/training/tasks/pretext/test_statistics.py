from __future__ import annotations

import numpy as np

from lidarloop_training.tasks.pretext.statistics import NUM_STATISTICS, lidar_statistics


def test_statistics_are_their_closed_forms() -> None:
    # Unit 1: four points along x, two of them higher. Unit 0: one point.
    xyz = np.array([[1.0, 2, 3], [0, 5, 0], [2, 5, 0], [4, 5, 2], [6, 5, 2]])
    intensity = np.array([0.5, 0.0, 0.0, 1.0, 1.0])
    found = lidar_statistics(xyz, intensity, np.array([0, 1, 1, 1, 1]), 2)
    assert found.shape == (2, NUM_STATISTICS)
    np.testing.assert_allclose(found[0], [0, 1.5, 1.5, 1.5, 0, 0, 0, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], [np.log10(4) / 2, 0, 0.5, 1, 0.5, np.sqrt(5) / 5, 0, 0.5, 0.5], atol=1e-6)


def test_turning_the_scene_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    xyz, intensity, unit = rng.normal(size=(200, 3)), rng.random(200), np.arange(200) % 7
    turn = np.array([[np.cos(1.1), -np.sin(1.1), 0], [np.sin(1.1), np.cos(1.1), 0], [0, 0, 1]])
    expected = lidar_statistics(xyz, intensity, unit, 7)
    np.testing.assert_allclose(lidar_statistics(xyz @ turn.T, intensity, unit, 7), expected, atol=1e-5)
