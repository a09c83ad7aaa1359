"""Rows of the study: recomputed from its records, honest where there are none."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from benchmarks.contrastive import tables
from benchmarks.contrastive.arms import ARMS, CROSS, SCRATCH, SHUFFLED, STATISTICS
from benchmarks.contrastive.tables import Study, paired, rows


def run(arm: str, percent: float, seed: int, rate: float, **values: Any) -> dict[str, Any]:
    usual = {"kind": "fine-tune", "network": "pillars", "unit": "drive", "schedule": "usual", "num_steps": 100}
    return {**usual, "step": 100, "arm": arm, "percent": percent, "seed": seed, "rate": rate, **values}


def test_without_records_every_promise_falls_short() -> None:
    found = list(rows([]))
    assert found
    assert all(row.holds is False for row in found)
    assert all(tables.NOT_RUN in row.note for row in found)


def test_the_rate_is_the_one_that_is_best_on_validation_drives_not_on_test_drives() -> None:
    records = [
        run(SCRATCH, 5.0, 0, 2e-3, mAP=0.5, validation=0.2),
        run(SCRATCH, 5.0, 0, 8e-3, mAP=0.4, validation=0.3),
        run(SCRATCH, 5.0, 1, 8e-3, mAP=0.3, validation=0.1),
    ]
    assert Study(records).points(SCRATCH, 5.0) == {0: pytest.approx(40), 1: pytest.approx(30)}


def test_scores_after_a_share_of_the_steps_are_those_of_that_step() -> None:
    records = [
        run(CROSS, 5.0, 0, 2e-3, step=25, mAP=0.1),
        run(CROSS, 5.0, 0, 2e-3, mAP=0.4, validation=0.3),
    ]
    assert Study(records).points(CROSS, 5.0, share=0.25) == {0: pytest.approx(10)}


def test_a_gain_is_the_mean_of_paired_differences() -> None:
    better, worse = {0: 30.0, 1: 28.0, 2: 32.0, 5: 99.0}, {0: 20.0, 1: 22.0, 2: 18.0}
    assert list(paired(better, worse)) == [10, 6, 14]
    row = tables.gain_row("gain", better, worse, 8)
    assert (row.value, row.holds) == (pytest.approx(10), True)
    # Standard deviation 4, so 4 / √3 × 4.3027 either way.
    assert "+10.0, 95 % +0.1 to +19.9, 3 seeds" in row.what
    assert tables.gain_row("gain", worse, better, 8).holds is False
    assert tables.within_row("near", better, worse, 2).holds is False
    assert tables.within_row("near", {0: 21.0}, worse, 2).holds is True


def test_promises_hold_where_the_records_say_so() -> None:
    means = {CROSS: 0.4, SCRATCH: 0.3, STATISTICS: 0.35, SHUFFLED: 0.31}
    records = [
        run(arm, percent, seed, 4e-3, mAP=mean + 0.001 * seed, validation=mean)
        for arm, mean in means.items()
        for percent in (1.0, 5.0, 10.0, 20.0)
        for seed in (0, 1, 2)
    ]
    by_name = {row.what.split(" (")[0]: row for row in rows(records)}
    assert by_name["images against scratch at 1 % of the labels, mAP points"].holds
    assert by_name["images against LiDAR statistics at 5 %, mAP points"].value == pytest.approx(5)
    assert by_name["shuffled images against scratch at 5 %, mAP points"].holds
    assert by_name["images at 10 % against scratch at 20 %, mAP points"].holds
    assert by_name["U-Net: images against scratch at 1 %, mIoU points"].holds is False


def test_every_arm_has_a_folder_of_its_own() -> None:
    assert len({arm.folder for arm in ARMS}) == len(ARMS)
