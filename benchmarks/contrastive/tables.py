"""The study's records as rows: what is promised, with its target, and tables beside the paper's directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from benchmarks.checks import Row, report_only
from benchmarks.contrastive.arms import (
    ALL_PERCENTS,
    BALANCED_NEGATIVES,
    CROSS,
    MASKED,
    MULTI,
    NO_INSTANCES,
    ONLY_P2,
    ONLY_P4,
    PILLARS,
    POINTS,
    RANDOM,
    RANDOM_SEEDS,
    SCRATCH,
    SHUFFLED,
    SINGLE,
    SINGLE_PLUS,
    STATISTICS,
    SUPERPIXELS,
    SUPERVISED,
    TRANSFER,
    Network,
)
from benchmarks.records import Record, matching

NOT_RUN = "no stored results: python -m benchmarks.contrastive.study"

PAPER = {
    SINGLE: "paper: below images (57.6 against 59.6 mAPH)",
    SINGLE_PLUS: "paper: between single and images (58.4)",
    MULTI: "paper: below images (59.0)",
    NO_INSTANCES: "paper: below (37.0 against 38.6)",
    BALANCED_NEGATIVES: "paper: above (38.6 against 37.9)",
    RANDOM_SEEDS: "paper: below (37.0 against 38.6)",
    PILLARS: "paper: alike (38.3 against 38.6)",
    RANDOM: "paper: little above scratch (56.8 against 56.6; images 59.0)",
    ONLY_P2: "paper: below (58.0 against 59.0)",
    ONLY_P4: "paper: below, above P2 alone (58.7)",
    POINTS: "paper: below (57.1 against 59.6)",
    SUPERPIXELS: "paper: below (57.2 against 59.6)",
    MASKED: "paper: below (gain 1.2 against 1.6, voxels)",
}
"""Directions of the paper's tables I, III, V, IX, X and XI."""

_SHARE = 5.0


class Study:
    """Look-ups in the records of fine-tuning.

    Args:
        records: all records of the study.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def points(
        self, arm: str, percent: float, *, network: Network = "pillars", share: float = 1.0, **protocol: str
    ) -> dict[int, float]:
        """Seed → mAP (U-Net: mIoU) in points after a share of the steps, at the rate chosen on validation drives.

        Args:
            arm: name of the arm.
            percent: share of the labels.
            network: what is fine-tuned.
            share: share of the fine-tuning steps.
            protocol: unit (drive) and schedule (usual).
        """
        key = {"unit": "drive", "schedule": "usual", **protocol}
        runs = matching(self.records, kind="fine-tune", arm=arm, network=network, percent=percent, **key)
        ended = [run for run in runs if run["step"] == run["num_steps"]]
        if not ended:
            return {}
        first = min(run["seed"] for run in ended)
        rate = max((run for run in ended if run["seed"] == first), key=lambda run: run["validation"])["rate"]
        metric = "mIoU" if network == "U-Net" else "mAP"
        return {
            run["seed"]: 100 * run[metric]
            for run in runs
            if run["rate"] == rate and run["step"] == max(1, round(share * run["num_steps"]))
        }


def paired(better: dict[int, float], worse: dict[int, float]) -> npt.NDArray[np.float64] | None:
    """(S,) differences of the S seeds that both have, in their order; None where there is none."""
    seeds = sorted(set(better) & set(worse))
    return np.array([better[seed] - worse[seed] for seed in seeds]) if seeds else None


def rows(records: Sequence[Record]) -> Iterator[Row]:
    """All rows of the study."""
    study = Study(records)
    yield from _promises(study)
    yield from _shares(study)
    yield from _beginnings(study)
    yield from _table(study, "controls", (STATISTICS, SHUFFLED, RANDOM))
    yield from _table(study, "modality", (SINGLE, SINGLE_PLUS, MULTI))
    yield from _table(study, "units", (NO_INSTANCES, BALANCED_NEGATIVES, RANDOM_SEEDS, PILLARS))
    yield from _table(study, "image encoder", (SUPERVISED, RANDOM))
    yield from _table(study, "levels", (ONLY_P2, ONLY_P4))
    yield from _table(study, "rivals", (POINTS, SUPERPIXELS, MASKED))
    yield from _pretext(records)
    yield from _costs(records)


def _promises(study: Study) -> Iterator[Row]:
    cross = {percent: study.points(CROSS, percent) for percent in ALL_PERCENTS}
    scratch = {percent: study.points(SCRATCH, percent) for percent in ALL_PERCENTS}
    yield gain_row("images against scratch at 1 % of the labels, mAP points", cross[1.0], scratch[1.0], 8)
    yield gain_row("images against scratch at 5 %, mAP points", cross[5.0], scratch[5.0], 5)
    statistics, shuffled = (study.points(arm, _SHARE) for arm in (STATISTICS, SHUFFLED))
    yield gain_row("images against LiDAR statistics at 5 %, mAP points", cross[5.0], statistics, 2)
    yield within_row("shuffled images against scratch at 5 %, mAP points", shuffled, scratch[5.0], 2)
    yield gain_row("images at 10 % against scratch at 20 %, mAP points", cross[10.0], scratch[20.0], 0)
    images, nothing = (study.points(arm, _SHARE, network="voxels") for arm in (CROSS, SCRATCH))
    yield gain_row("voxels: images against scratch at 5 %, mAP points", images, nothing, None)
    images, nothing = (study.points(arm, 1.0, network="U-Net") for arm in (CROSS, SCRATCH))
    yield gain_row("U-Net: images against scratch at 1 %, mIoU points", images, nothing, 5)
    transfer = study.points(TRANSFER, _SHARE)
    what = "transfer: images of another town style against scratch at 5 %, mAP points"
    yield gain_row(what, transfer, scratch[5.0], None)


def _shares(study: Study) -> Iterator[Row]:
    """mAP of both sides by share, unit and schedule."""
    for unit, schedule in (("drive", "usual"), ("drive", "long"), ("sample", "usual")):
        for percent in ALL_PERCENTS:
            for arm in (SCRATCH, CROSS):
                found = study.points(arm, percent, unit=unit, schedule=schedule)
                yield value_row(f"mAP points at {percent:g} % by {unit}, {schedule} schedule: {arm}", found)


def _beginnings(study: Study) -> Iterator[Row]:
    """mAP after shares of the steps."""
    for share in (0.1, 0.25, 0.5):
        for arm in (SCRATCH, CROSS):
            found = study.points(arm, _SHARE, share=share)
            yield value_row(f"mAP points at 5 % after {share:.0%} of the steps: {arm}", found)


def _table(study: Study, title: str, arms: Sequence[str]) -> Iterator[Row]:
    cross = study.points(CROSS, _SHARE)
    for arm in arms:
        found = study.points(arm, _SHARE)
        gain = paired(found, cross)
        told = PAPER.get(arm, "")
        against = "" if gain is None else f"{_interval(gain)} against images; "
        yield value_row(f"{title}, mAP points at 5 %: {arm}", found, against + told)


def _pretext(records: Sequence[Record]) -> Iterator[Row]:
    """Contrastive accuracy after epochs, and alignment at the end (the paper's figure 5 and section III-B)."""
    for arm, kind in ((SINGLE, "single"), (SINGLE_PLUS, "single"), (CROSS, "cross"), (MULTI, "cross")):
        found = sorted(
            matching(records, kind="pre-train", arm=arm, network="pillars", seed=0), key=lambda record: record["step"]
        )
        curve = ", ".join(f"{record[f'{kind}_accuracy']:.2f}" for record in found)
        last = found[-1] if found else {}
        what = f"contrastive accuracy at the end, {kind} pairs: {arm}"
        yield _reported(what, last.get(f"{kind}_accuracy"), f"after each epoch: {curve}")
        told = {CROSS: "paper: 0.708", MULTI: "paper: 0.532"}.get(arm, "")
        yield _reported(f"alignment score, {kind} pairs: {arm}", last.get(f"{kind}_alignment"), told)


def _costs(records: Sequence[Record]) -> Iterator[Row]:
    """Step time and memory of each modality beside the paper's table V, and where the time goes."""
    costs = {record["arm"]: record for record in matching(records, kind="cost", network="pillars")}
    paper = {SINGLE: "0.8 × time, 1.4 × memory", SINGLE_PLUS: "0.9 ×, 1.4 ×", CROSS: "1 ×, 1 ×", MULTI: "1.5 ×, 1.9 ×"}
    for arm, told in paper.items():
        cost = costs.get(arm, {})
        yield _reported(f"pre-training step, s: {arm}", cost.get("step s"), f"paper: {told}")
        yield _reported(f"  memory, MB: {arm}", cost.get("memory MB"), "")
    images = costs.get(CROSS)
    what = "share of data, features and units in a step: images"
    if images is None:
        yield Row(what, None, "≤ 0.3333", False, NOT_RUN)
        return
    share = (images["data s"] + images["features s"] + images["units s"]) / images["step s"]
    yield Row(what, share, "≤ 0.3333", bool(share <= 1 / 3))


# --- rows -------------------------------------------------------------------------------------------------------------


def gain_row(what: str, better: dict[int, float], worse: dict[int, float], target: float | None) -> Row:
    """Mean difference over the seeds that both have, with its paired 95 % interval; without results it falls short."""
    words = "" if target is None else f"≥ {target:g}"
    gain = paired(better, worse)
    if gain is None:
        return Row(what, None, words or "stored", False, NOT_RUN)
    mean = float(gain.mean())
    return Row(f"{what} ({_interval(gain)})", mean, words, None if target is None else bool(mean >= target))


def within_row(what: str, found: dict[int, float], other: dict[int, float], most: float) -> Row:
    """Mean difference over the seeds that both have, to be at most so large either way."""
    gain = paired(found, other)
    if gain is None:
        return Row(what, None, f"within ± {most:g}", False, NOT_RUN)
    mean = float(gain.mean())
    return Row(f"{what} ({_interval(gain)})", mean, f"within ± {most:g}", bool(abs(mean) <= most))


def value_row(what: str, found: dict[int, float], note: str = "") -> Row:
    """Mean and standard deviation over the seeds; without results it falls short."""
    if not found:
        return Row(what, None, "stored", False, f"{NOT_RUN}; {note}" if note else NOT_RUN)
    values = np.array(list(found.values()))
    spread = f"± {values.std(ddof=1):.1f}, {len(values)} seeds" if len(values) > 1 else "1 seed"
    return report_only(what, float(values.mean()), f"{spread}; {note}" if note else spread)


def _reported(what: str, value: float | None, note: str) -> Row:
    if value is None:
        return Row(what, None, "stored", False, NOT_RUN)
    return report_only(what, value, note)


def _interval(differences: npt.NDArray[np.float64]) -> str:
    """Mean of paired differences and its 95 % interval by Student's t."""
    mean, number = float(np.mean(differences)), len(differences)
    if number < 2:
        return f"{mean:+.1f}, 1 seed"
    half = float(student.ppf(0.975, number - 1) * np.std(differences, ddof=1) / np.sqrt(number))
    return f"{mean:+.1f}, 95 % {mean - half:+.1f} to {mean + half:+.1f}, {number} seeds"
