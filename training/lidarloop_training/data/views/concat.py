"""Several sources one after another, as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from lidarloop_core.sample import Sample, SampleSource


class ConcatSource:
    """All samples of the first source, then all of the second, and so on."""

    def __init__(self, sources: Sequence[SampleSource]) -> None:
        self.sources = tuple(sources)
        self._ends = list(accumulate(len(source) for source in self.sources))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"received index {index}; expected 0…{len(self) - 1}")
        which = bisect_right(self._ends, index)
        before = self._ends[which - 1] if which else 0
        return self.sources[which][index - before]
