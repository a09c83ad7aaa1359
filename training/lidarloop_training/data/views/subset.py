"""Some samples of a source, as a source: a share of it, or samples repeated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource


class SubsetSource:
    """The samples at ``indices`` of a source, in that order; an index may occur more than once."""

    def __init__(self, source: SampleSource, indices: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self.source = source
        self.indices = np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        keys = self.source.keys
        return tuple(keys[index] for index in self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self._within(index)]

    def annotations(self, index: int) -> Annotations | None:
        return self.source.annotations(self._within(index))

    def pose(self, index: int) -> LidarPose:
        return self.source.pose(self._within(index))

    def _within(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"received index {index}; expected 0…{len(self) - 1}")
        return int(self.indices[index])
