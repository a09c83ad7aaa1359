"""Rows of pseudo-labels on real drives, from runs whose figures are known."""

from __future__ import annotations

from typing import Any

from benchmarks.streets.label_rows import gains, targets

GOOD = {"ap": 0.85, "turned": 0.02, "length_m": 0.2, "width_m": 0.08, "doubles": 0.01, "above_m": -0.05}


def test_targets_hold_where_they_are_met_and_fall_short_each_for_itself() -> None:
    assert all(row.holds for row in targets("kitti-0003", {"car": GOOD}, {"car": GOOD}) if row.target)
    short = {**GOOD, "turned": 0.3}
    assert [row.holds for row in targets("kitti-0003", {"car": short}, {"car": GOOD}) if row.target].count(False) == 1


def test_what_was_not_run_falls_short() -> None:
    rows = list(targets("pandaset-002", {}, {}))
    assert [row.holds for row in rows] == [False] * len(rows)
    assert {row.note for row in rows} == {"not run"}


def test_live_labels_far_below_offline_ones_fall_short() -> None:
    rows = list(targets("kitti-0003", {"car": GOOD}, {"car": {**GOOD, "ap": 0.7}}))
    assert [row.what for row in rows if row.holds is False] == [
        "kitti-0003: AP of cars, offline less live labels of the same frames"
    ]


def test_the_gain_of_a_step_is_the_difference_to_the_recipe_without_it() -> None:
    figures: dict[str, Any] = dict.fromkeys(
        ("precision", "recall", "turned", "length_m", "width_m", "doubles", "filled")
    )
    runs = {
        ("d", "full"): {"car": {**figures, "ap": 0.7, "turned": 0.5}},
        ("d", "full, refine.vote-front True"): {"car": {**figures, "ap": 0.75, "turned": 0.1}},
    }
    (row,) = gains("d", runs)
    assert abs((row.value or 0.0) - 0.05) < 1e-9
    assert "turned 0.500 → 0.100" in row.what
    assert row.holds is None
