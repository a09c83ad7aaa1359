"""The grid that a model's points are grouped into: pillars for a dense network, voxels for a sparse one."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from lidarloop_core import bounds

Range = tuple[float, float]

FARTHEST_M = 10_000.0
MAX_CELLS = 1 << 24
"""Cells in the bird's-eye view: kernels count them in 32 bits, and a canvas of them has to fit into memory."""

MAX_LAYERS = 64
"""Heights of a voxel grid: the occupied ones of a column fit into a word of 64 bits."""

MAX_PLACES = 1 << 26
"""Points in all places of all pillars, or voxels in all levels."""


@dataclass(frozen=True)
class PillarGrid:
    """Columns over the ground, each with a number of places for points.

    Attributes:
        x_range_m, y_range_m, z_range_m: (low, high), metres, LiDAR frame; low inclusive, high exclusive.
        cell_size_m: (x, y) edges of a pillar, metres; they divide the ranges.
        max_points_per_pillar: number of places in a pillar; later points of a full pillar are left out.
        max_pillars: number of pillars that a cloud may fill; one above it is thinned and the overflow reported.

    Raises:
        ModelFileError: a value of another type or outside its bounds, or a range that is no whole number of cells.
    """

    x_range_m: Range
    y_range_m: Range
    z_range_m: Range
    cell_size_m: tuple[float, float]
    max_points_per_pillar: int
    max_pillars: int
    kind: str = field(default="pillars", init=False)

    def __post_init__(self) -> None:
        _set_ranges(self, num_cell_axes=2)
        for name, most in (("max_points_per_pillar", 1 << 10), ("max_pillars", MAX_CELLS)):
            bounds.set_fields(self, [(name, bounds.whole_number(f"PillarGrid.{name}", getattr(self, name), 1, most))])
        if self.most_points > MAX_PLACES:
            raise bounds.unfit(
                "PillarGrid", f"{self.most_pillars} pillars of {self.max_points_per_pillar}", f"≤ {MAX_PLACES} points"
            )

    @property
    def ranges_m(self) -> tuple[Range, Range, Range]:
        """(x, y, z) ranges, metres."""
        return self.x_range_m, self.y_range_m, self.z_range_m

    @property
    def shape(self) -> tuple[int, int]:
        """Number of pillars: (columns along x, rows along y)."""
        return _num_cells(self.x_range_m, self.cell_size_m[0]), _num_cells(self.y_range_m, self.cell_size_m[1])

    @property
    def num_cells(self) -> int:
        """Number of cells: columns × rows."""
        return math.prod(self.shape)

    @property
    def most_pillars(self) -> int:
        """Most pillars of a grouped cloud: ``max_pillars``, or fewer where the grid has fewer cells."""
        return min(self.max_pillars, self.num_cells)

    @property
    def most_cells(self) -> int:
        """Most cells of a grouped cloud that hold points: its pillars."""
        return self.most_pillars

    @property
    def most_points(self) -> int:
        """Most points of a grouped cloud."""
        return self.most_pillars * self.max_points_per_pillar

    def halved(self) -> PillarGrid:
        """The same grid for half as many pillars, at least one."""
        return dataclasses.replace(self, max_pillars=max(1, self.most_pillars // 2))

    @property
    def capacity_text(self) -> str:
        """What a cloud may fill, for messages: ``"16000 pillars"``."""
        return f"{self.most_pillars} pillars"


@dataclass(frozen=True)
class VoxelLevel:
    """One level of a sparse network: the strided convolution of the level above, and room for its voxels.

    Attributes:
        capacity: number of voxels that there is room for.
        stride, kernel, padding: cells along (x, y, z), as of a dense convolution.

    Raises:
        ModelFileError: a value of another type or outside its bounds.
    """

    capacity: int
    stride: tuple[int, int, int] = (2, 2, 2)
    kernel: tuple[int, int, int] = (3, 3, 3)
    padding: tuple[int, int, int] = (1, 1, 1)

    def __post_init__(self) -> None:
        checked: list[tuple[str, object]] = [
            ("capacity", bounds.whole_number("VoxelLevel.capacity", self.capacity, 1, MAX_PLACES))
        ]
        for name, low, high in (("stride", 1, 8), ("kernel", 1, 7), ("padding", 0, 6)):
            checked.append((name, bounds.whole_numbers(f"VoxelLevel.{name}", getattr(self, name), 3, low, high)))
        bounds.set_fields(self, checked)
        if any(padding >= kernel for padding, kernel in zip(self.padding, self.kernel, strict=True)):
            raise bounds.refused("VoxelLevel.padding", self.padding, f"less than the kernel {self.kernel} on each axis")

    def shape_of(self, above: tuple[int, int, int]) -> tuple[int, int, int]:
        """(x, y, z) cells of this level from those of the level above: ⌊(n + 2 padding − kernel) / stride⌋ + 1."""
        x, y, z = (
            (cells + 2 * padding - kernel) // stride + 1
            for cells, stride, kernel, padding in zip(above, self.stride, self.kernel, self.padding, strict=True)
        )
        return x, y, z


@dataclass(frozen=True)
class VoxelGrid:
    """Cells in space, and the levels of the sparse network on them.

    Attributes:
        x_range_m, y_range_m, z_range_m: (low, high), metres, LiDAR frame; low inclusive, high exclusive.
        cell_size_m: (x, y, z) edges of a voxel, metres; they divide the ranges.
        capacity: number of voxels that a cloud may fill; one above it is thinned and the overflow reported.
        levels: levels below the grid itself, finest first; none by default.

    Raises:
        ModelFileError: a value of another type or outside its bounds, a range that is no whole number of cells, or a
            level without a cell.
    """

    x_range_m: Range
    y_range_m: Range
    z_range_m: Range
    cell_size_m: tuple[float, float, float]
    capacity: int
    levels: tuple[VoxelLevel, ...] = ()
    kind: str = field(default="voxels", init=False)

    def __post_init__(self) -> None:
        _set_ranges(self, num_cell_axes=3)
        levels = bounds.sequence("VoxelGrid.levels", self.levels, 0, 8)
        for level in levels:
            bounds.instance_of("VoxelGrid.levels", level, (VoxelLevel,))
        capacity = bounds.whole_number("VoxelGrid.capacity", self.capacity, 1, MAX_PLACES)
        bounds.set_fields(self, [("levels", levels), ("capacity", capacity)])
        if self.shape[2] > MAX_LAYERS:
            raise bounds.unfit("VoxelGrid.z_range_m", f"{self.shape[2]} layers", f"at most {MAX_LAYERS}")
        for number, shape in enumerate(self.level_shapes):
            if min(shape) < 1:
                raise bounds.unfit("VoxelGrid.levels", f"level {number} of {shape} cells", "at least one cell each way")

    @property
    def ranges_m(self) -> tuple[Range, Range, Range]:
        """(x, y, z) ranges, metres."""
        return self.x_range_m, self.y_range_m, self.z_range_m

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels: (columns along x, rows along y, layers along z)."""
        x, y, z = (_num_cells(range_m, size) for range_m, size in zip(self.ranges_m, self.cell_size_m, strict=True))
        return x, y, z

    @property
    def num_cells(self) -> int:
        """Number of cells: columns × rows × layers."""
        return math.prod(self.shape)

    @property
    def level_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(x, y, z) cells of each level, the grid itself first."""
        shapes = [self.shape]
        for level in self.levels:
            shapes.append(level.shape_of(shapes[-1]))
        return tuple(shapes)

    @property
    def level_capacities(self) -> tuple[int, ...]:
        """Most voxels of each level, the grid itself first: its capacity, or fewer where it has fewer cells."""
        capacities = (self.capacity, *(level.capacity for level in self.levels))
        return tuple(min(most, math.prod(shape)) for most, shape in zip(capacities, self.level_shapes, strict=True))

    @property
    def most_cells(self) -> int:
        """Most cells of a grouped cloud that hold points: its voxels."""
        return self.level_capacities[0]

    def halved(self) -> VoxelGrid:
        """The same grid for half as many voxels on each level, at least one."""
        first, *others = (max(1, most // 2) for most in self.level_capacities)
        levels = (dataclasses.replace(level, capacity=n) for level, n in zip(self.levels, others, strict=True))
        return dataclasses.replace(self, capacity=first, levels=tuple(levels))

    @property
    def capacity_text(self) -> str:
        """What a cloud may fill, for messages: ``"80000 voxels"``."""
        return f"{self.level_capacities[0]} voxels"


Grid = PillarGrid | VoxelGrid


def _set_ranges(grid: Grid, num_cell_axes: int) -> None:
    """Checks the ranges and the cell size, and sets them in their one form."""
    owner = type(grid).__name__
    for name in ("x_range_m", "y_range_m", "z_range_m"):
        low, high = bounds.numbers(f"{owner}.{name}", getattr(grid, name), 2, -FARTHEST_M, FARTHEST_M)
        if not low < high:
            raise bounds.refused(f"{owner}.{name}", (low, high), "the lower end first")
        bounds.set_fields(grid, [(name, (low, high))])
    sizes = bounds.numbers(f"{owner}.cell_size_m", grid.cell_size_m, num_cell_axes, 1e-3, 2 * FARTHEST_M)
    bounds.set_fields(grid, [("cell_size_m", sizes)])
    for axis, (low, high), size in zip("xyz", grid.ranges_m, sizes, strict=False):
        cells = (high - low) / size
        if round(cells) < 1 or not math.isclose(cells, round(cells), abs_tol=1e-3):
            raise bounds.unfit(
                f"{owner}.{axis}_range_m", f"({low:g}, {high:g}) m with cells of {size:g} m ({cells:g} cells)",
                "a whole number of cells",
            )  # fmt: skip
    if math.prod(grid.shape[:2]) > MAX_CELLS:
        raise bounds.unfit(owner, f"{grid.shape[0]} × {grid.shape[1]} cells", f"at most {MAX_CELLS} on the ground")


def _num_cells(range_m: Range, size_m: float) -> int:
    return round((range_m[1] - range_m[0]) / size_m)
