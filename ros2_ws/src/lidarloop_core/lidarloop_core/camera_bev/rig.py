"""CameraRig: the cameras of a model's contract, and the map that their features are laid on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lidarloop_core import bounds
from lidarloop_core.pointcloud.grid import Grid

CHUNK = 8
"""Contributions that one row of a lift table sums."""

MOST_CHUNKS = 16
"""Rows of the lift table that one cell of the map sums: more than 128 contributions to a cell are thinned."""

_MOST_PIXELS = 1 << 13


@dataclass(frozen=True)
class CameraRig:
    """What a model takes of its cameras (lift-splat; Philion and Fidler, ECCV 2020).

    Attributes:
        names: names of the cameras in the order of the pictures, e.g. ``CAM_FRONT``.
        width, height: pixels of a picture as the network takes it, multiples of ``stride``.
        stride: pixels that one cell of the image features spans, each way.
        depth_range_m: (nearest, farthest) depth along the optical axis, metres.
        num_depths: number of equal intervals of the depth range; features are placed at their middles.
        map_stride: cells of the model's grid that one cell of the cameras' map spans, each way.
        takes_points: whether the network takes the points too; False is a model on cameras alone, whose grid only
            says where the map lies. Default True.

    Raises:
        ModelFileError: a value of another type or outside its bounds, or a picture that is no whole number of cells.
    """

    names: tuple[str, ...]
    width: int
    height: int
    stride: int
    depth_range_m: tuple[float, float]
    num_depths: int
    map_stride: int
    takes_points: bool = True

    def __post_init__(self) -> None:
        checked: list[tuple[str, object]] = [("names", bounds.distinct_texts("CameraRig.names", self.names, 32))]
        for name, most in (
            ("width", _MOST_PIXELS), ("height", _MOST_PIXELS), ("stride", 64), ("num_depths", 1024), ("map_stride", 64),
        ):  # fmt: skip
            checked.append((name, bounds.whole_number(f"CameraRig.{name}", getattr(self, name), 1, most)))
        near, far = bounds.numbers("CameraRig.depth_range_m", self.depth_range_m, 2, 0.0, 10_000.0)
        bounds.set_fields(self, [*checked, ("depth_range_m", (near, far))])
        if not isinstance(self.takes_points, bool):
            raise bounds.refused("CameraRig.takes_points", self.takes_points, "true or false")
        if not near < far:
            raise bounds.refused("CameraRig.depth_range_m", (near, far), "the nearer end first")
        if self.width % self.stride or self.height % self.stride:
            raise bounds.unfit(
                "CameraRig", f"pictures of {self.width} × {self.height} pixels with a stride of {self.stride}",
                "a whole number of cells each way",
            )  # fmt: skip

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Cells of a picture's features: (columns, rows)."""
        return self.width // self.stride, self.height // self.stride

    @property
    def num_rays(self) -> int:
        """Cells of all pictures' features."""
        return len(self.names) * math.prod(self.feature_shape)

    @property
    def num_places(self) -> int:
        """Places in space that features are lifted to: each cell of the image features at each depth."""
        return self.num_rays * self.num_depths

    def map_shape(self, grid: Grid) -> tuple[int, int]:
        """Cells of the cameras' map over a grid: (columns, rows).

        Raises:
            ModelFileError: the grid is no whole number of them.
        """
        columns, rows = grid.shape[:2]
        if columns % self.map_stride or rows % self.map_stride:
            raise bounds.unfit(
                "CameraRig.map_stride",
                f"{self.map_stride} with a grid of {columns} × {rows} cells",
                "a number that divides it each way",
            )
        return columns // self.map_stride, rows // self.map_stride
