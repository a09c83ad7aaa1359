"""The probes of the toy town's objects: closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.toytown import probe


def test_balanced_accuracy_is_the_mean_of_the_recalls() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    assert probe.balanced_accuracy(np.zeros(10, int), truth) == pytest.approx(0.5)
    assert probe.balanced_accuracy(np.array([0] * 6 + [1] * 2 + [1, 0]), truth) == pytest.approx((0.75 + 0.5) / 2)


def test_neighbours_of_separate_clusters_give_their_labels() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    labels = np.repeat([3, 5, 10], [40, 20, 10])
    known = np.repeat(centres, [40, 20, 10], axis=0) + rng.normal(0, 0.5, (70, 2))
    np.testing.assert_array_equal(probe.nearest_neighbours(known, labels, centres), [3, 5, 10])


def test_point_statistics_of_a_wall_are_its_measures() -> None:
    x, z = np.meshgrid(np.linspace(0, 4, 41), np.linspace(-1, 1, 21))
    turn = 0.6
    wall = np.column_stack([x.ravel() - 2, np.zeros(x.size)])
    wall = wall @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + (3, 4)
    points = np.column_stack([wall, z.ravel(), np.repeat([10.0, 30.0], [430, 431])])
    expected = [5, np.log(861), 4, 0, 2, -1, z.std(), points[:, 3].mean(), points[:, 3].std()]
    np.testing.assert_allclose(probe.point_statistics(points), expected, atol=1e-9)


def test_colour_histograms_have_length_one_and_tell_colours_apart() -> None:
    red, blue, grey = (np.full((8, 3), colour, np.uint8) for colour in ((200, 10, 10), (10, 10, 200), (90, 90, 90)))
    first, second, third = (probe.colour_histogram(colours) for colours in (red, blue, grey))
    for histogram in (first, second, third):
        assert np.linalg.norm(histogram) == pytest.approx(1)
    assert first @ second == first @ third == 0
    assert probe.colour_histogram(np.concatenate([red, grey])) @ first == pytest.approx(np.sqrt(0.5))
    np.testing.assert_array_equal(probe.colour_histogram(np.full((8, 3), (225, 20, 20), np.uint8)), first)


def test_pixel_colours_are_those_round_the_pixels_above_and_below() -> None:
    picture = np.full((20, 10, 3), (90, 90, 90), np.uint8)
    picture[2:7, 3:8], picture[12:17, 3:8] = (200, 10, 10), (10, 10, 200)
    pixels = np.array([(5, 4), (4, 5), (5, 14), (6, 13)])
    colours = probe.pixel_colours(picture, pixels)
    red, blue = (probe.colour_histogram(np.array([c], np.uint8)) for c in ((200, 10, 10), (10, 10, 200)))
    np.testing.assert_allclose(colours, np.concatenate([red, blue]))
    assert np.linalg.norm(probe.pixel_colours(picture, np.array([(0, 0), (9, 19)]))) == pytest.approx(np.sqrt(2))


def test_objects_of_a_drive_are_actors_and_background() -> None:
    objects = probe.objects_of(6100, "lookalikes", 100)
    assert len(objects.label) == len(objects.statistics) == len(objects.colours) > 30
    assert probe.BACKGROUND in objects.label
    assert (objects.label < probe.BACKGROUND).sum() > 10
    assert np.isfinite(objects.statistics).all()
