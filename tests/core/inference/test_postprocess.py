"""Thresholds by class and range, renaming and suppression: each rule in closed form, each misspelling refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.postprocess import (
    Postprocessing,
    RangeBands,
    Renaming,
    parse_overlaps,
    parse_renamings,
    parse_thresholds,
)

CLASSES = ("car", "truck", "pedestrian")


def boxes(*rows: tuple[str, float, float, float, float]) -> Boxes3D:
    """Boxes of (class, x, score, length, width), on the x axis."""
    values = np.zeros((len(rows), 9), np.float32)
    values[:, 0] = [x for _, x, *_ in rows]
    values[:, 3:5] = [(length, width) for *_, length, width in rows]
    values[:, 5] = 1.5
    labels = np.array([CLASSES.index(name) for name, *_ in rows])
    return Boxes3D(values, np.array([score for _, _, score, *_ in rows]), labels, CLASSES)


def published(settings: Postprocessing, found: Boxes3D) -> list[tuple[str, float]]:
    """(class, x) of what comes out, best first."""
    out = settings.publishable(settings.passing(found))
    return list(zip(out.names, out.values[:, 0].tolist(), strict=True))


def test_thresholds_by_class_and_range() -> None:
    settings = Postprocessing(0.3, score_thresholds=parse_thresholds("pedestrian: 0.2 <20, 0.4 <40, 0.6"))
    found = boxes(
        *(
            ("pedestrian", x, score, 0.5, 0.5)
            for x, score in ((19, 0.25), (21, 0.35), (39, 0.45), (41, 0.55), (60, 0.7))
        ),
        *(("car", x, score, 4, 2) for x, score in ((10, 0.29), (80, 0.31))),
    )
    assert sorted(published(settings, found)) == [
        ("car", 80), ("pedestrian", 19), ("pedestrian", 39), ("pedestrian", 60)
    ]  # fmt: skip
    # The distance is the one from the sensor, not x; a band's end belongs to the next band.
    np.testing.assert_array_equal(RangeBands((0.1, 0.2), (5.0,)).at(np.array([np.hypot(3, 3.9), 5.0])), [0.1, 0.2])


def test_suppression_by_class() -> None:
    # Two boxes of 4 m, 1 m apart: IoU 3/5.
    found = boxes(("car", 0, 0.9, 4, 2), ("car", 1, 0.8, 4, 2), ("truck", 10, 0.7, 4, 2), ("truck", 11, 0.6, 4, 2))
    assert published(Postprocessing(nms_iou=0.5), found) == [("car", 0), ("truck", 10)]
    settings = Postprocessing(nms_iou=0.5, nms_ious=parse_overlaps("truck: 0.7"))
    assert published(settings, found) == [("car", 0), ("truck", 10), ("truck", 11)]


def test_renaming_comes_before_suppression_and_keeps_the_models_labels() -> None:
    found = boxes(("car", 0, 0.9, 7, 2), ("truck", 0, 0.8, 7, 2), ("car", 20, 0.7, 4, 2), ("pedestrian", 5, 0.6, 1, 1))
    settings = Postprocessing(renamings=parse_renamings("car: truck >12.1; pedestrian: person"))
    assert settings.published_classes(CLASSES) == (*CLASSES, "person")
    assert published(settings, found) == [("truck", 0), ("car", 20), ("person", 5)]
    assert published(Postprocessing(renamings=parse_renamings("car:")), found) == [("truck", 0), ("pedestrian", 5)]


def test_without_settings_everything_above_the_threshold_stays() -> None:
    found = boxes(("car", 0, 0.9, 4, 2), ("truck", 0, 0.05, 4, 2))
    assert published(Postprocessing(), found) == [("car", 0)]
    assert published(Postprocessing(), found[[]]) == []


def test_a_score_that_is_no_number_is_not_silently_left_out() -> None:
    assert len(Postprocessing(0.5).passing(boxes(("car", 0, np.nan, 4, 2)))) == 1


@pytest.mark.parametrize("text", ["", " ; ", "  "])
def test_nothing_said_is_nothing_set(text: str) -> None:
    assert (parse_thresholds(text), parse_overlaps(text), parse_renamings(text)) == ({}, {}, ())


def test_readings() -> None:
    assert parse_thresholds("car: 0.35; pedestrian: 0.2 <20, 0.3 <40, 0.4") == {
        "car": RangeBands((0.35,)),
        "pedestrian": RangeBands((0.2, 0.3, 0.4), (20.0, 40.0)),
    }
    assert parse_renamings("a: b; c: d > 2.5; e:") == (Renaming("a", "b"), Renaming("c", "d", 2.5), Renaming("e", ""))


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (parse_thresholds, "car 0.3", "expected CLASS: VALUE"),
        (parse_thresholds, "car: high", "'car' received 'high'; expected a number"),
        (parse_thresholds, "car: nan", "expected a number"),
        (parse_thresholds, "car: 1.5", "from 0 to 1"),
        (parse_thresholds, "car: 0.3, 0.4", "SCORE <METRES for every band but the last"),
        (parse_thresholds, "car: 0.3 <40, 0.4 <20, 0.5", "ascending"),
        (parse_overlaps, "car: -0.1", "from 0 to 1"),
        (parse_renamings, "car: truck >big", "expected a number"),
        (parse_renamings, "car: truck >-1", "at least 0"),
        (parse_renamings, ": truck", "expected CLASS: VALUE"),
    ],
)
def test_other_forms_are_refused(parse: Callable[..., Any], text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text)


@pytest.mark.parametrize(
    "settings",
    [
        Postprocessing(score_thresholds={"cra": RangeBands((0.1,))}),
        Postprocessing(nms_ious={"cra": 0.1}),
        Postprocessing(renamings=(Renaming("cra", "car"),)),
    ],
)
def test_unknown_classes_are_named(settings: Postprocessing) -> None:
    with pytest.raises(ConfigError, match=r"'cra'; expected one of the classes car, truck, pedestrian"):
        settings.require_classes(CLASSES)


def test_a_class_that_renaming_brings_has_its_own_overlap() -> None:
    Postprocessing(nms_ious={"vehicle": 0.1}, renamings=(Renaming("car", "vehicle"),)).require_classes(CLASSES)
