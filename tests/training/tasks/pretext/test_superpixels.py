from __future__ import annotations

import numpy as np

from lidarloop_training.tasks.pretext.superpixels import superpixels, to_lab


def test_colours_are_those_of_cielab() -> None:
    colours = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]]], np.uint8)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    np.testing.assert_allclose(to_lab(colours)[0], expected, atol=0.02)


def test_no_superpixel_crosses_an_edge_between_two_colours() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 23:] = 255
    label = superpixels(picture, 24)
    assert not set(label[:, :23].ravel()) & set(label[:, 23:].ravel())
    assert 12 <= len(np.unique(label)) <= 36


def test_a_plain_picture_is_cut_into_even_squares() -> None:
    label = superpixels(np.full((40, 60, 3), 90, np.uint8), 24)
    sizes = np.bincount(label.ravel())
    assert len(sizes) == 24
    assert sizes.max() <= 1.5 * sizes.min()
