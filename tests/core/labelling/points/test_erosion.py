"""Erosion against OpenCV's definition, written as scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_erosion

from lidarloop_core.labelling.instance_masks import MaskWindow
from lidarloop_core.labelling.points.erosion import eroded


def _whole(window: MaskWindow, width: int, height: int) -> np.ndarray:
    picture = np.zeros((height, width), np.bool_)
    rows, columns = window.pixels.shape
    picture[window.top : window.top + rows, window.left : window.left + columns] = window.pixels
    return picture


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14))), st.integers(0, 3))
def test_equals_scipy_on_the_whole_picture(mask: np.ndarray, radius_px: int) -> None:
    height, width = mask.shape
    if radius_px:
        # As OpenCV's default: what lies beyond the picture takes nothing away.
        expected = binary_erosion(mask, np.ones((3, 3)), iterations=radius_px, border_value=1)
    else:
        expected = mask
    found = eroded(MaskWindow.of(mask), radius_px, width, height)
    np.testing.assert_array_equal(_whole(found, width, height), expected)


@pytest.mark.parametrize(("left", "kept"), [(10, 8 * 8), (0, 9 * 8)])
def test_an_object_cut_off_by_the_picture_keeps_its_cut_edge(left: int, kept: int) -> None:
    assert eroded(MaskWindow(left, 5, np.ones((10, 10), np.bool_)), 1, 100, 100).num_pixels == kept


def test_does_not_change_the_mask_it_is_given() -> None:
    window = MaskWindow(3, 3, np.ones((4, 4), np.bool_))
    eroded(window, 2, 100, 100)
    assert window.pixels.all()
