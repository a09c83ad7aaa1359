"""Shape priors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.labelling.priors import ShapePriors


def test_the_papers_are_length_width_height() -> None:
    sizes = ShapePriors.paper().of(NUSCENES_CLASSES)
    assert sizes.shape == (10, 3)
    np.testing.assert_array_equal(ShapePriors.paper().of(["truck"]), [[8.0, 2.6, 3.6]])
    assert (sizes[:, 0] >= sizes[:, 1]).all()


def test_written_and_read_again_they_are_the_same(tmp_path: Path) -> None:
    ShapePriors.paper().write(tmp_path / "priors.json")
    assert ShapePriors.read(tmp_path / "priors.json") == ShapePriors.paper()


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"car": 3}',
        '{"car": {"length": 4.5, "width": 1.8}}',
        '{"car": {"length": "long", "width": 1, "height": 1}}',
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "priors.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"priors\.json.*expected JSON"):
        ShapePriors.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        ShapePriors.read(tmp_path / "absent.json")


@pytest.mark.parametrize("size", [(4.5, 0.0, 1.4), (4.5, -1.0, 1.4), (float("nan"), 1.0, 1.0)])
def test_sizes_must_be_positive(size: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="car"):
        ShapePriors({"car": size})


def test_a_class_without_one_is_named() -> None:
    with pytest.raises(ConfigError, match="tram"):
        ShapePriors.paper().of(["car", "tram"])


def test_statistics_are_medians_of_the_classes_seen() -> None:
    values = np.zeros((3, 9), np.float32)
    values[:, 3:6] = [(4, 2, 1.5), (5, 1.8, 1.4), (9, 1.9, 1.6)]
    boxes = Boxes3D(values, np.ones(3), np.zeros(3), NUSCENES_CLASSES)
    assert ShapePriors.from_statistics([boxes, boxes]) == ShapePriors({"car": (5.0, 1.9, 1.5)})
