"""Streets made by hand, as a LiDAR sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Heights = Callable[[FloatArray], FloatArray]
"""Places (N, 2) → height of the ground (N,), metres."""


def rings(height: Heights, noise_m: float = 0.0, seed: int = 0) -> FloatArray:
    """(N, 3) points of a LiDAR's rings on the ground, 3 to 50 m away, metres."""
    radius, angle = np.meshgrid(np.geomspace(3.0, 50.0, 32), np.linspace(-np.pi, np.pi, 720, endpoint=False))
    xy = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 2).astype(np.float32)
    z = height(xy) + np.random.default_rng(seed).normal(0, noise_m, len(xy))
    return np.column_stack([xy, z]).astype(np.float32)


def block(center: Sequence[float], size: Sequence[float], spacing_m: float = 0.1) -> FloatArray:
    """(N, 3) points of a grid that fills a box, faces included, metres."""
    axes = [
        np.linspace(c - s / 2, c + s / 2, max(round(s / spacing_m), 1) + 1) for c, s in zip(center, size, strict=True)
    ]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3).astype(np.float32)
