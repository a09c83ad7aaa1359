"""The models that the repository carries, as far as sparse networks are compared with them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.checks import REPOSITORY, Row

PILLARS, VOXELS, POINTS = (
    REPOSITORY / f"models/{name}.onnx" for name in ("pillar-toytown", "voxel-toytown", "segment-toytown")
)


def missing(what: str, target: str, model: Path) -> Row:
    """A promise that cannot be kept without the model's file."""
    return Row(what, None, target, False, f"no {model.name}")
