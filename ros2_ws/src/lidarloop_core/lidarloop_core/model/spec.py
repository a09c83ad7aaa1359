"""ModelSpec: the one place for a detector's range, cell size, classes, point columns, tensor names and yaw rule.

It travels inside ``model.onnx`` (metadata key ``lidarloop.spec``), so that no launch file repeats a voxel size.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from lidarloop_core.errors import ModelFileError

SPEC_VERSION = 1
# Fields that files may lack: those written before there were any, and those of models that do without.
_OPTIONAL = {"training_intensity"}

# Tensor names of the exported graph. Inputs: points (N, C) float32, slot (N,) int64, cell (P,) int64, count (P,) int64;
# outputs: boxes (K, 9) float32, scores (K,) float32, labels (K,) int64.
INPUT_NAMES = ("points", "slot", "cell", "count")
OUTPUT_NAMES = ("boxes", "scores", "labels")


@dataclass(frozen=True)
class ModelSpec:
    """The contract between the training side and the vehicle.

    Attributes:
        name: e.g. ``"pillar-toytown"``.
        class_names: label i means ``class_names[i]``.
        point_columns: input columns in order; the first three are x y z. ``dt`` is the age of a point's sweep in
            seconds (≥ 0, 0 for the newest); ``intensity`` is multiplied by ``intensity_scale`` before it enters the
            network.
        intensity_scale: raw sensor unit → about [0, 1], e.g. 1/255 for nuScenes.
        x_range_m, y_range_m, z_range_m: (low, high) in the LiDAR frame; low inclusive, high exclusive.
        pillar_size_m: cell edge (x, y); it divides the range.
        max_points_per_pillar: places in a pillar; later points of a full pillar are left out.
        max_pillars: capacity; a cloud above it is thinned and the overflow reported.
        num_sweeps: sweeps merged into one input, 1 for the keyframe alone.
        sweep_interval_s: nominal time between two of them.
        max_detections: K of the outputs.
        lidar_height_m: mounting height above ground in the training data; for the vehicle's plausibility check.
        yaw_rule: how the yaw column is meant; there is one rule.
        training_intensity: deciles of the training data's raw intensity, smallest to largest (11 values), for the
            vehicle's plausibility check; empty where they were not taken down.
    """

    name: str
    class_names: tuple[str, ...]
    point_columns: tuple[str, ...]
    intensity_scale: float
    x_range_m: tuple[float, float]
    y_range_m: tuple[float, float]
    z_range_m: tuple[float, float]
    pillar_size_m: tuple[float, float]
    max_points_per_pillar: int
    max_pillars: int
    num_sweeps: int
    sweep_interval_s: float
    max_detections: int
    lidar_height_m: float
    yaw_rule: str = "counter-clockwise from +x, radians, length along the heading (REP-103)"
    version: int = SPEC_VERSION
    training_intensity: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.point_columns[:3] != ("x", "y", "z"):
            raise ModelFileError(f"ModelSpec received point_columns {self.point_columns}; expected x, y, z first")
        for axis, (low, high), size in zip("xy", (self.x_range_m, self.y_range_m), self.pillar_size_m, strict=True):
            cells = (high - low) / size
            if not (high > low and size > 0 and math.isclose(cells, round(cells), abs_tol=1e-3)):
                raise ModelFileError(
                    f"ModelSpec received {axis} range ({low}, {high}) m with cells of {size} m ({cells:g} cells); "
                    "expected a whole number of cells: change the range or the cell size"
                )
        for name in ("max_points_per_pillar", "max_pillars", "num_sweeps", "max_detections"):
            if getattr(self, name) < 1:
                raise ModelFileError(f"ModelSpec received {name}={getattr(self, name)}; expected at least 1")
        if not self.class_names or len(set(self.class_names)) != len(self.class_names):
            raise ModelFileError(f"ModelSpec received class_names {self.class_names}; expected distinct names")
        if len(self.training_intensity) not in (0, 11) or list(self.training_intensity) != sorted(
            self.training_intensity
        ):
            raise ModelFileError(
                f"ModelSpec received training_intensity {self.training_intensity}; "
                "expected none, or 11 ascending deciles"
            )

    @property
    def grid_size(self) -> tuple[int, int]:
        """Number of pillars (columns along x, rows along y)."""
        return (
            round((self.x_range_m[1] - self.x_range_m[0]) / self.pillar_size_m[0]),
            round((self.y_range_m[1] - self.y_range_m[0]) / self.pillar_size_m[1]),
        )

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal specs give equal bytes. Options that are not used are left out."""
        values = dataclasses.asdict(self)
        return json.dumps({k: v for k, v in values.items() if v or k not in _OPTIONAL}, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> ModelSpec:
        """Reads what ``to_json`` wrote.

        Raises:
            ModelFileError: no JSON object, another version, or fields missing or unknown.
        """
        try:
            raw: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelFileError(f"ModelSpec received text that is no JSON ({error}); export the model again") from None
        if not isinstance(raw, dict) or raw.get("version") != SPEC_VERSION:
            found = raw.get("version") if isinstance(raw, dict) else type(raw).__name__
            raise ModelFileError(
                f"ModelSpec received version {found}; this lidarloop reads version {SPEC_VERSION}: "
                "export the model again"
            )
        fields = {f.name for f in dataclasses.fields(ModelSpec)}
        if wrong := (set(raw) ^ fields) - (_OPTIONAL - set(raw)):
            raise ModelFileError(
                f"ModelSpec received fields {sorted(wrong)} too many or too few; export the model again"
            )
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        try:
            return ModelSpec(**values)
        except TypeError as error:
            raise ModelFileError(
                f"ModelSpec received a field of the wrong type ({error}); export the model again"
            ) from None
