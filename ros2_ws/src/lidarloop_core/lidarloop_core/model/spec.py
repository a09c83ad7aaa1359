"""ModelSpec: the one place for a model's grid, tensors, classes, point columns and yaw rule.

It travels inside ``model.onnx`` (metadata key ``lidarloop.spec``), so that no launch file repeats a cell size.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import cached_property

from lidarloop_core import bounds
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.errors import ModelFileError
from lidarloop_core.model.inputs import camera_inputs, pillar_inputs, voxel_inputs
from lidarloop_core.model.outputs import Detection, Segmentation
from lidarloop_core.model.spec_json import from_version_1, read_fields, read_object
from lidarloop_core.model.tensors import TensorSpec
from lidarloop_core.pointcloud.grid import PillarGrid, VoxelGrid
from lidarloop_core.pointcloud.guard import NO_LIMITS, Limits

SPEC_VERSION = 2
YAW_RULE = "counter-clockwise from +x, radians, length along the heading (REP-103)"

SWEEP_STAMPS = ("start", "middle", "end")
"""nuScenes and the toy town stamp the end of a sweep, KITTI its middle."""


@dataclass(frozen=True)
class ModelSpec:
    """The contract between the training side and the vehicle.

    Attributes:
        name: the model's name, e.g. ``"pillar-toytown"``; a part of file names.
        class_names: names of the classes; label i means ``class_names[i]``.
        point_columns: columns of the points in order; the first three are x y z. ``dt`` is the age of a point's sweep
            in seconds (≥ 0, 0 for the newest); ``intensity`` is multiplied by ``intensity_scale`` before it enters the
            network.
        intensity_scale: factor from the raw sensor unit to about [0, 1], e.g. 1/255 for nuScenes.
        grid: what the points are grouped into.
        outputs: what the model gives.
        num_sweeps: number of sweeps merged into one input, 1 for the keyframe alone.
        sweep_interval_s: nominal time between two sweeps, seconds.
        lidar_height_m: mounting height above ground in the training data, metres; for the vehicle's plausibility
            check.
        yaw_rule: meaning of the yaw column; there is one rule.
        training_intensity: deciles of the training data's raw intensity, smallest to largest (11 values), for the
            vehicle's plausibility check; empty where they were not taken down.
        sweep_stamp: where in a sweep the moment lies that the training's points were brought to, of ``SWEEP_STAMPS``.
        cameras: what a detector takes of cameras beside the points, or in their place; None without cameras.

    Raises:
        ModelFileError: a value of another type or outside its bounds.
    """

    name: str
    class_names: tuple[str, ...]
    point_columns: tuple[str, ...]
    intensity_scale: float
    grid: PillarGrid | VoxelGrid
    outputs: Detection | Segmentation
    num_sweeps: int
    sweep_interval_s: float
    lidar_height_m: float
    yaw_rule: str = YAW_RULE
    training_intensity: tuple[float, ...] = ()
    sweep_stamp: str = "end"
    cameras: CameraRig | None = None
    version: int = field(default=SPEC_VERSION, init=False)

    def __post_init__(self) -> None:
        bounds.instance_of("ModelSpec.grid", self.grid, (PillarGrid, VoxelGrid))
        bounds.instance_of("ModelSpec.outputs", self.outputs, (Detection, Segmentation))
        num_sweeps = bounds.whole_number("ModelSpec.num_sweeps", self.num_sweeps, 1, 100)
        shortest_s = 1e-3 if num_sweeps > 1 else 0.0
        checked: list[tuple[str, object]] = [
            ("name", bounds.text("ModelSpec.name", self.name)),
            ("class_names", bounds.distinct_texts("ModelSpec.class_names", self.class_names, 1000)),
            ("point_columns", bounds.distinct_texts("ModelSpec.point_columns", self.point_columns, 64)),
            ("intensity_scale", bounds.number("ModelSpec.intensity_scale", self.intensity_scale, 0.0, 1e6)),
            ("num_sweeps", num_sweeps),
            ("sweep_interval_s", bounds.number("ModelSpec.sweep_interval_s", self.sweep_interval_s, shortest_s, 60.0)),
            ("lidar_height_m", bounds.number("ModelSpec.lidar_height_m", self.lidar_height_m, -100.0, 100.0)),
            ("training_intensity", _deciles(self.training_intensity)),
        ]
        bounds.set_fields(self, checked)
        if self.sweep_stamp not in SWEEP_STAMPS:
            raise bounds.refused("ModelSpec.sweep_stamp", self.sweep_stamp, " or ".join(SWEEP_STAMPS))
        if "/" in self.name or self.name in (".", ".."):
            raise bounds.refused("ModelSpec.name", self.name, "a name that can be a file's")
        if self.point_columns[:3] != ("x", "y", "z"):
            raise bounds.refused("ModelSpec.point_columns", self.point_columns, "x, y, z first")
        self._check_outputs()
        self._check_cameras()
        if self.yaw_rule != YAW_RULE:
            raise bounds.refused("ModelSpec.yaw_rule", self.yaw_rule, f"'{YAW_RULE}'")

    def _check_outputs(self) -> None:
        """A detector on voxels makes a BEV map of its last level."""
        if isinstance(self.grid, VoxelGrid) and isinstance(self.outputs, Detection):
            layers = self.grid.level_shapes[-1][2]
            if layers != 1 or not self.grid.levels:
                raise bounds.unfit(
                    "ModelSpec.grid", f"a detector with a last level {layers} layers high", "levels down to one layer"
                )

    def _check_cameras(self) -> None:
        if self.cameras is None:
            return
        bounds.instance_of("ModelSpec.cameras", self.cameras, (CameraRig,))
        if not isinstance(self.outputs, Detection):
            raise bounds.unfit("ModelSpec.cameras", f"those of a model for {self.outputs.kind}", "a detector")
        self.cameras.map_shape(self.grid)  # refuses a grid that the map does not divide

    @property
    def takes_points(self) -> bool:
        """Whether the graph takes the points, as all models do but those on cameras alone."""
        return self.cameras is None or self.cameras.takes_points

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that the graph takes, in its order: those of the points, then those of the cameras."""
        of_points = self.point_inputs if self.takes_points else ()
        return of_points if self.cameras is None else (*of_points, *camera_inputs(self.cameras, self.grid))

    @cached_property
    def point_inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that points are grouped into."""
        num_columns = len(self.point_columns)
        if isinstance(self.grid, PillarGrid):
            return pillar_inputs(self.grid, num_columns)
        return voxel_inputs(self.grid, num_columns, gives_points=isinstance(self.outputs, Segmentation))

    @cached_property
    def output_tensors(self) -> tuple[TensorSpec, ...]:
        """The tensors that the graph gives, in its order."""
        return self.outputs.tensors(self.inputs)

    @cached_property
    def column_limits(self) -> Limits:
        """Limits of the raw columns that the network takes: what a sensor of the training's unit can give.

        For the intensity that is [0, 1 / ``intensity_scale``], widened to the deciles of the training data; where these
        were not taken down, up to four times as much, beyond which it must be another unit.
        """
        if "intensity" not in self.point_columns or not self.intensity_scale:
            return NO_LIMITS
        full_scale = 1 / self.intensity_scale
        lowest, *_, highest = self.training_intensity or (0.0, 4 * full_scale)
        return {"intensity": (min(0.0, lowest), max(full_scale, highest))}

    @property
    def pillars(self) -> PillarGrid:
        """The grid of a model on pillars; raises ModelFileError for another."""
        if not isinstance(self.grid, PillarGrid):
            raise ModelFileError(f"{self.name} is a model on {self.grid.kind}; expected one on pillars: take another")
        return self.grid

    @property
    def detection(self) -> Detection:
        """The outputs of a detector; raises ModelFileError for another model."""
        if not isinstance(self.outputs, Detection):
            raise ModelFileError(f"{self.name} is a model for {self.outputs.kind}; expected a detector: take another")
        return self.outputs

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal specs give equal bytes.

        A model without cameras has no field of that name, so that an older lidarloop reads it.
        """
        fields = dataclasses.asdict(self)
        if self.cameras is None:
            del fields["cameras"]
        return json.dumps(fields, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> ModelSpec:
        """Reads what ``to_json`` wrote, also that of version 1.

        Raises:
            ModelFileError: no JSON object, another version, fields missing or unknown, or a value that is refused.
        """
        raw = read_object(text)
        version = raw.get("version")
        if version == 1 and not isinstance(version, bool):
            raw = from_version_1(raw)
        elif version != SPEC_VERSION or isinstance(version, bool):
            raise bounds.refused("ModelSpec.version", version, f"1 or {SPEC_VERSION}, which this lidarloop reads")
        spec: ModelSpec = read_fields(ModelSpec, raw, "ModelSpec")
        return spec


def _deciles(values: object) -> tuple[float, ...]:
    deciles = bounds.sequence("ModelSpec.training_intensity", values, 0, 11)
    numbers = bounds.numbers("ModelSpec.training_intensity", deciles, len(deciles), -1e12, 1e12)
    if len(numbers) not in (0, 11) or list(numbers) != sorted(numbers):
        raise bounds.refused("ModelSpec.training_intensity", numbers, "none, or 11 ascending deciles")
    return numbers
