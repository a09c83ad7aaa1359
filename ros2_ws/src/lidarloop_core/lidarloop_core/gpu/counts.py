"""What the host learns of a cloud that was grouped on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lidarloop_core.errors import CloudFormatError


@dataclass(frozen=True)
class GroupedCounts:
    """Counts of one cloud; the same as those of a ``GroupedCloud`` on the host.

    Attributes:
        rows: name of a dimension of the graph's inputs → the cloud's rows along it, 0 or more.
        num_found: name of the dimension of pillars, or of the voxels of each level → how many there were before
            thinning.
        num_out_of_range: points outside the model's range, or not finite.
        num_over_full: points left out of full pillars.
        num_thinned: points left out with their pillar or voxel.
        overfull: what exceeded the model's capacity, one text for each.
    """

    rows: Mapping[str, int]
    num_found: Mapping[str, int]
    num_out_of_range: int
    num_over_full: int
    num_thinned: int
    overfull: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no point is in range: there is nothing to run the graph on."""
        return not any(self.num_found.values())

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the graph's inputs by the names of their dimensions: a graph takes one row at least."""
        return {name: max(1, number) for name, number in self.rows.items()}


def check_fits(num_points: int, max_cloud_points: int) -> None:
    """Refuses a cloud for which there is no room.

    Raises:
        CloudFormatError: more points than ``max_cloud_points``.
    """
    if num_points > max_cloud_points:
        raise CloudFormatError(
            f"grouping received {num_points} points; expected at most {max_cloud_points}: make it larger"
        )
