"""Some samples of a source, as a source: a share of it, or samples repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lidarloop_core.sample import Sample, SampleSource


class SubsetSource:
    """The samples at ``indices`` of a source, in that order; an index may occur more than once."""

    def __init__(self, source: SampleSource, indices: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self.source = source
        self.indices = np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"received index {index}; expected 0…{len(self) - 1}")
        return self.source[int(self.indices[index])]
