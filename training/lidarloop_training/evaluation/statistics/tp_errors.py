"""How the true-positive errors are spread over the matches of each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lidarloop_training.evaluation.metrics.matching import UNMATCHED, FloatArray, Matching
from lidarloop_training.evaluation.metrics.nuscenes import TP_ERRORS, match_errors, undefined_errors, yaw_period_rad

ERROR_TITLES = {
    "ATE": "translation error, m",
    "ASE": "scale error, 1 − IoU",
    "AOE": "heading error, rad",
    "AVE": "velocity error, m/s",
}


def error_samples(matching: Matching, threshold: float) -> Mapping[str, Mapping[str, FloatArray]]:
    """Error → class with objects → (K,) its errors, over the matches from the threshold up, without unknown ones."""
    samples: dict[str, dict[str, FloatArray]] = {key: {} for key in TP_ERRORS[:4]}
    for label, name in enumerate(matching.config.class_names):
        if not (matching.objects.labels == label).any():
            continue
        rows = matching.of_class(label)
        found = matching.match[matching.config.tp_threshold, rows]
        hit = (found != UNMATCHED) & (matching.detections.scores[rows] >= threshold)
        errors = match_errors(
            matching.detections.values[rows][hit], matching.objects.values[found[hit]], yaw_period_rad(name)
        )
        for key in samples:
            known = errors[key][~np.isnan(errors[key])]
            samples[key][name] = known[:0] if key in undefined_errors(name) else known
    return samples
