"""The ways in which such labels fail, each as a number with a rule.

Khurana, Peri, Hays, Ramanan: Shelf-Supervised Cross-Modal Pre-Training for 3D Object Detection, CoRL 2024, names four:
instances that are not separated, points too sparse to find the middle, headings where lanes do not lead, and classes
that the prompts do not find.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.iou import bev_iou
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_training.evaluation.metrics.matching import UNMATCHED, FloatArray, Matching
from lidarloop_training.evaluation.samples import SampleRecord

Verdict = Literal["fine", "suspicious", "cannot be told"]

OVERLAP_IOU = 0.1
MOST_OVERLAPPING = 0.05
MOST_RADIAL_BIAS_M = 0.25
TURNING_RAD_PER_S = math.radians(5.0)
MOST_TURNING_EXCESS_RAD = math.radians(10.0)
LANE_DISAGREES_RAD = math.radians(20.0)
MOST_LANE_DISAGREEMENT = 0.1
FEWEST = 10
"""Labels or matches of which less is not judged."""
LEAST_PER_OBJECT, MOST_PER_OBJECT = 0.5, 2.0


@dataclass(frozen=True)
class Diagnostic:
    """One failure signature.

    Attributes:
        name: failure that a suspicious value points to.
        value: measured number, in ``unit``; NaN where there is too little data.
        unit: unit of ``value``, for the reader.
        rule: condition under which ``value`` is suspicious.
        verdict: outcome of ``rule``.
        note: numbers that ``value`` was made of, or what there is too little of.
    """

    name: str
    value: float
    unit: str
    rule: str
    verdict: Verdict
    note: str = ""


def instance_separation(labels: Sequence[PseudoLabels]) -> Diagnostic:
    """Boxes of one class that lie in each other: erosion and suppression did not separate neighbours."""
    num_labels = sum(map(len, labels))
    num_overlapping = sum(int(_overlapping(frame).sum()) for frame in labels)
    share = num_overlapping / num_labels if num_labels else math.nan
    return _judged(
        "instances not separated",
        share,
        "share",
        f"> {MOST_OVERLAPPING:g}",
        share > MOST_OVERLAPPING,
        f"{num_overlapping} of {num_labels} labels overlap one of their class, IoU > {OVERLAP_IOU:g}",
        too_few=_too_few(num_labels, "labels"),
    )


def radial_bias(matching: Matching) -> Diagnostic:
    """How much too near (negative) or too far the labels lie along the line of sight, metres: what is seen of an object
    is its near side, and few points do not show where the far one is."""
    detected, true = _matches(matching)
    sight = true[:, :2] / np.maximum(np.linalg.norm(true[:, :2], axis=1, keepdims=True), 1e-6)
    off = ((detected[:, :2] - true[:, :2]) * sight).sum(axis=1)
    mean = float(off.mean()) if len(off) else math.nan
    error = float(off.std(ddof=1) / math.sqrt(len(off))) if len(off) > 1 else math.nan
    return _judged(
        "centres biased along the line of sight",
        mean,
        "m",
        f"beyond ±{MOST_RADIAL_BIAS_M:g} and 2 standard errors",
        abs(mean) > max(MOST_RADIAL_BIAS_M, 2 * error),
        f"{len(off)} matches, standard error {error:.3f}; below 0 is too near",
        too_few=_too_few(len(off), "matches"),
    )


def turning_headings(
    matching: Matching, frames: Sequence[SampleRecord], stamps_ns: Mapping[str, int], classes: Sequence[str]
) -> Diagnostic:
    """How much worse the headings of turning vehicles are than those of all others; front and back count alike."""
    rates = yaw_rates(frames, stamps_ns)
    of_token = {frame.token: rates[frame.token] for frame in frames}
    found, rows = _matched_rows(matching)
    detected, true = matching.detections.values[found], matching.objects.values[rows]
    off = np.abs((detected[:, 6] - true[:, 6] + np.pi / 2) % np.pi - np.pi / 2)
    rate = np.array([of_token[matching.tokens[matching.objects.sample[r]]][matching.objects.index[r]] for r in rows])
    wanted = [i for i, name in enumerate(matching.config.class_names) if name in classes]
    vehicle = np.isin(matching.objects.labels[rows], wanted) & np.isfinite(rate)
    turning = vehicle & (np.abs(rate) > TURNING_RAD_PER_S)
    straight = vehicle & ~turning
    num_turning, num_others = int(turning.sum()), int(straight.sum())
    enough = min(num_turning, num_others) >= FEWEST
    excess = float(np.median(off[turning]) - np.median(off[straight])) if enough else math.nan
    turns = f"{num_turning} that turn faster than {math.degrees(TURNING_RAD_PER_S):.0f}°/s"
    return _judged(
        "headings wrong in turns",
        math.degrees(excess),
        "°",
        f"> {math.degrees(MOST_TURNING_EXCESS_RAD):.0f}",
        excess > MOST_TURNING_EXCESS_RAD,
        f"median error of {turns}, less that of {num_others} others",
        too_few="" if enough else f"{turns}, {num_others} others",
    )


def lane_disagreement(track_yaws: FloatArray, lane_yaws: FloatArray) -> Diagnostic:
    """Vehicles that move another way than the lane they are on: what headings from the map would get wrong.

    Args:
        track_yaws: (N,) radians, world frame: headings of labels whose heading is that of their motion.
        lane_yaws: (N,) radians, world frame: headings of the lanes they are on; NaN for no lane.
    """
    known = np.isfinite(lane_yaws) & np.isfinite(track_yaws)
    off = np.abs((track_yaws - lane_yaws)[known])
    off = np.abs((off + np.pi / 2) % np.pi - np.pi / 2)
    share = float((off > LANE_DISAGREES_RAD).mean()) if len(off) else math.nan
    return _judged(
        "motion and lane disagree",
        share,
        "share",
        f"> {MOST_LANE_DISAGREEMENT:g}",
        share > MOST_LANE_DISAGREEMENT,
        f"of {len(off)} moving labels on a lane, by > {math.degrees(LANE_DISAGREES_RAD):.0f}°",
        too_few=_too_few(len(off), "moving labels on lanes"),
    )


def unfound_classes(prompts: Sequence[str], num_labels: Mapping[str, int]) -> Diagnostic:
    """Classes that were asked for and never found: the prompt does not describe them, or the model never saw them."""
    absent = [name for name in prompts if not num_labels.get(name)]
    return _judged(
        "classes asked for and never found",
        float(len(absent)),
        f"of {len(prompts)}",
        "> 0",
        bool(absent),
        ", ".join(absent),
        too_few=_too_few(sum(num_labels.values()), "labels"),
    )


def class_imbalance(num_labels: Mapping[str, int], num_objects: Mapping[str, int]) -> Diagnostic:
    """Labels for each object, in the class where that is furthest from one; classes with few objects are left out."""
    ratios = {name: num_labels.get(name, 0) / n for name, n in num_objects.items() if n >= FEWEST}
    worst = max(ratios, key=lambda name: abs(math.log(max(ratios[name], 1e-6))), default="")
    value = ratios.get(worst, math.nan)
    return _judged(
        "labels for each object, worst class",
        value,
        "each",
        f"outside {LEAST_PER_OBJECT:g} … {MOST_PER_OBJECT:g}",
        not LEAST_PER_OBJECT <= value <= MOST_PER_OBJECT,
        worst.replace("_", " "),
        too_few="" if ratios else "objects of each class",
    )


def yaw_rates(frames: Sequence[SampleRecord], stamps_ns: Mapping[str, int]) -> dict[str, FloatArray]:
    """Token → (N,) rad/s at which each annotated object turns in the world, from its neighbours in time; NaN where it
    is seen once or the frames have no ego-motion."""
    seen: dict[tuple[str, str], list[tuple[int, str, int, float]]] = {}
    rates = {}
    for frame in frames:
        annotations = frame.annotations
        rates[frame.token] = np.full(0 if annotations is None else len(annotations.boxes), np.nan)
        if annotations is None or frame.world_SE3_ego is None:
            continue
        yaws = frame.ground_truth().boxes.yaws
        for i, (name, yaw) in enumerate(zip(annotations.instance_ids, yaws, strict=True)):
            if name:
                stamp_ns = stamps_ns[frame.token]
                seen.setdefault((frame.scene, name), []).append((stamp_ns, frame.token, i, float(yaw)))
    for sightings in seen.values():
        sightings.sort()
        for k, (_, token, i, _) in enumerate(sightings):
            before, after = sightings[max(k - 1, 0)], sightings[min(k + 1, len(sightings) - 1)]
            if after[0] > before[0]:
                turn = (after[3] - before[3] + np.pi) % (2 * np.pi) - np.pi
                rates[token][i] = turn / ((after[0] - before[0]) * 1e-9)
    return rates


def _overlapping(labels: PseudoLabels) -> npt.NDArray[np.bool_]:
    """(M,) labels that overlap another of their class."""
    iou = bev_iou(labels.boxes.values, labels.boxes.values)
    np.fill_diagonal(iou, 0.0)
    same = labels.boxes.labels[:, None] == labels.boxes.labels[None]
    overlapping: npt.NDArray[np.bool_] = ((iou > OVERLAP_IOU) & same).any(axis=1)
    return overlapping


def _matches(matching: Matching) -> tuple[FloatArray, FloatArray]:
    found, rows = _matched_rows(matching)
    return matching.detections.values[found], matching.objects.values[rows]


def _matched_rows(matching: Matching) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the detections that found an object at the true-positive distance, and of those objects."""
    match = matching.match[matching.config.tp_threshold]
    found = np.flatnonzero(match != UNMATCHED)
    return found, match[found]


def _judged(
    name: str, value: float, unit: str, rule: str, suspicious: bool, note: str, *, too_few: str = ""
) -> Diagnostic:
    """``too_few`` names what there is too little of to judge; empty where there is enough."""
    if too_few:
        return Diagnostic(name, math.nan, unit, rule, "cannot be told", f"too few: {too_few}")
    return Diagnostic(name, value, unit, rule, "suspicious" if suspicious else "fine", note)


def _too_few(number: int, what: str) -> str:
    return f"{number} {what}" if number < FEWEST else ""
