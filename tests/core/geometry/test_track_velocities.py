from __future__ import annotations

import numpy as np

from lidarloop_core.geometry.track_velocities import MAX_GAP_NS, track_velocities


def test_velocities_of_interleaved_tracks_are_differences_of_their_neighbours() -> None:
    seconds = np.array([0.0, 0.0, 1.0, 1.0, 2.0])
    tracks = np.array(["a", "b", "b", "a", "a"], dtype=object)
    centers = np.array([[0.0, 0.0], [5.0, 5.0], [5.0, 4.0], [1.0, 0.0], [4.0, 0.0]])
    got = track_velocities((seconds * 1e9).astype(np.int64), tracks, centers)
    # a: 1 m/s to the next, 2 m/s over both sides, 3 m/s from the one before; b: -1 m/s along y at both ends.
    np.testing.assert_allclose(got, [[1, 0], [0, -1], [0, -1], [2, 0], [3, 0]])


def test_velocities_do_not_depend_on_the_order_of_labels() -> None:
    rng = np.random.default_rng(0)
    stamps = rng.integers(0, 10, 40) * 10**8 + np.arange(40)
    tracks, centers = rng.integers(0, 4, 40), rng.random((40, 3))
    order = rng.permutation(40)
    got = track_velocities(stamps, tracks, centers)[order]
    np.testing.assert_array_equal(got, track_velocities(stamps[order], tracks[order], centers[order]))


def test_velocity_is_unknown_where_the_neighbours_are_far_or_missing() -> None:
    stamps = np.array([0, MAX_GAP_NS + 1, 0], np.int64)
    got = track_velocities(stamps, np.array([1, 1, 2]), np.zeros((3, 2)))
    assert np.isnan(got).all()
    assert track_velocities(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2))).shape == (0, 2)
