from __future__ import annotations

import itertools
import re

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.colors import CLASS_COLORS, class_color, rgb

Floats = npt.NDArray[np.float64]

# Linear RGB as seen without the middle and without the long cones: Machado, Oliveira, Fernandes 2009, severity 1.
SIGHTS = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
DETECTION, WHITE, DARK = "#35c4ff", "#ffffff", "#161b22"


def linear(color: str) -> Floats:
    value = np.array(rgb(color)) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(color: str, sight: Floats) -> Floats:
    """CIE Lab under D65."""
    seen = np.clip(sight @ linear(color), 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(a: str, b: str) -> float:
    """WCAG's contrast ratio."""
    low, high = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("sight", SIGHTS)
def test_any_two_classes_are_distinct(sight: str) -> None:
    places = {name: lab(color, SIGHTS[sight]) for name, color in CLASS_COLORS.items()}
    distance = min(np.linalg.norm(places[a] - places[b]) for a, b in itertools.combinations(places, 2))
    assert distance > 22


def test_no_class_looks_like_a_detection() -> None:
    detection = lab(DETECTION, SIGHTS["normal"])
    assert min(np.linalg.norm(lab(color, SIGHTS["normal"]) - detection) for color in CLASS_COLORS.values()) > 40


def test_colours_are_legible_on_white_and_on_dark() -> None:
    assert min(contrast(color, WHITE) for color in CLASS_COLORS.values()) > 2.1
    assert min(contrast(color, DARK) for color in CLASS_COLORS.values()) > 2.7


def test_every_nuscenes_class_has_its_colour() -> None:
    assert tuple(CLASS_COLORS) == NUSCENES_CLASSES
    assert [class_color(name) for name in NUSCENES_CLASSES] == list(CLASS_COLORS.values())


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("Car", "car"),
        ("REGULAR_VEHICLE", "car"),
        ("LARGE_VEHICLE", "truck"),
        ("Van", "truck"),
        ("SCHOOL_BUS", "bus"),
        ("Cyclist", "bicycle"),
        ("MOTORCYCLIST", "motorcycle"),
        ("Person_sitting", "pedestrian"),
        ("CONSTRUCTION_CONE", "traffic_cone"),
        ("BOLLARD", "traffic_cone"),
    ],
)
def test_names_of_other_data_sets_share_a_colour(name: str, class_name: str) -> None:
    assert class_color(name) == CLASS_COLORS[class_name]


def test_further_classes_get_colours_of_their_own() -> None:
    names = ("object", "Misc", "animal", "wheelchair")
    colors = {class_color(name) for name in names}
    assert len(colors) == len(names)
    assert not colors & set(CLASS_COLORS.values())
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors)


def test_rgb_reads_the_three_parts() -> None:
    assert rgb("#0102ff") == (1, 2, 255)
