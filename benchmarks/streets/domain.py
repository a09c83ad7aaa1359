"""A small classifier that tells two sets of clouds apart by patches of them, and how well it does.

A patch is what lies in a square of 6 m. It is described by its number of points, heights, intensities and the spacing
of points; a ridge regression on random Fourier features (Rahimi and Recht, 2007) decides. It is trained on the samples
of even place and scored on the others, with as many patches of each set: 0.5 is what guessing gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lidarloop_core.sample import Sample

FloatArray = npt.NDArray[np.float64]

PATCH_M = 6.0
NEAREST_M, FARTHEST_M = 6.0, 42.0
LEAST_POINTS = 20
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_NUM_FEATURES = 400
_RIDGE = 1.0

GEOMETRY = slice(0, 13)
INTENSITY = slice(13, 18)
GROUPS = {"geometry": (GEOMETRY,), "intensity": (INTENSITY,), "both": (GEOMETRY, INTENSITY)}


def patch_features(samples: Sequence[Sample]) -> list[FloatArray]:
    """For each sample the features of its patches, (P, 18)."""
    return [_features(sample) for sample in samples]


def separability(a: Sequence[FloatArray], b: Sequence[FloatArray]) -> dict[str, float]:
    """Share of patches that are put to the right set, by the features that decide.

    Args:
        a, b: features of each sample's patches, (P, F), of two sets of samples.
    """
    return {what: _accuracy(*(_pick(values, columns) for values in (a, b))) for what, columns in GROUPS.items()}


def _pick(samples: Sequence[FloatArray], columns: tuple[slice, ...]) -> list[FloatArray]:
    return [np.concatenate([values[:, part] for part in columns], axis=1) for values in samples]


def _accuracy(a: Sequence[FloatArray], b: Sequence[FloatArray]) -> float:
    rng = np.random.default_rng(0)
    (train, train_labels), (test, test_labels) = (_balanced(a[start::2], b[start::2], rng) for start in (0, 1))
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-9
    # The kernel's width is the square root of the number of features, as usual for standardised ones.
    directions = rng.standard_normal((train.shape[1], _NUM_FEATURES)) / np.sqrt(train.shape[1])
    phases = rng.uniform(0, 2 * np.pi, _NUM_FEATURES)
    lifted = [np.cos((values - mean) / scale @ directions + phases) for values in (train, test)]
    gram = lifted[0].T @ lifted[0] + _RIDGE * np.eye(_NUM_FEATURES)
    weights = np.linalg.solve(gram, lifted[0].T @ train_labels)
    return float(((lifted[1] @ weights > 0) == (test_labels > 0)).mean())


def _balanced(
    a: Sequence[FloatArray], b: Sequence[FloatArray], rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """As many rows of each, and their labels, -1 and 1."""
    rows = [np.concatenate(values) for values in (a, b)]
    number = min(map(len, rows))
    chosen = [values[rng.choice(len(values), number, replace=False)] for values in rows]
    return np.concatenate(chosen), np.repeat([-1.0, 1.0], number)


def _features(sample: Sample) -> FloatArray:
    keyframe = sample.keyframe
    points = keyframe.points[:, [keyframe.columns.index(name) for name in ("x", "y", "z", "intensity")]]
    distance = np.linalg.norm(points[:, :2], axis=1)
    points = points[(distance > NEAREST_M) & (distance < FARTHEST_M)].astype(np.float64)
    cells = np.floor(points[:, :2] / PATCH_M).astype(np.int64) @ [1, 10**4]
    order = np.argsort(cells, kind="stable")
    borders = np.flatnonzero(np.diff(cells[order])) + 1
    patches = [patch for patch in np.split(points[order], borders) if len(patch) >= LEAST_POINTS]
    return np.array([_describe(patch) for patch in patches]).reshape(len(patches), INTENSITY.stop)


def _describe(patch: FloatArray) -> FloatArray:
    """Range, number, heights above the lowest point and their spread, spacing; intensities."""
    heights = patch[:, 2] - np.quantile(patch[:, 2], 0.02)
    middle = np.linalg.norm(patch[:, :2].mean(axis=0))
    sparse = patch[:: max(1, len(patch) // 200), :3]
    spacing = cKDTree(patch[:, :3]).query(sparse, k=2)[0][:, 1]
    spread = np.linalg.eigvalsh(np.cov(patch[:, :3].T))
    geometry = [
        middle,
        np.log(len(patch)),
        *np.quantile(heights, _QUANTILES),
        *np.log(np.quantile(spacing, (0.25, 0.5, 0.75)) + 1e-3),
        *np.log(np.maximum(spread, 0) + 1e-6),
    ]
    return np.array([*geometry, *np.quantile(patch[:, 3], _QUANTILES)])
