"""Several sources one after another, as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, chain

from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource


class ConcatSource:
    """All samples of the first source, then all of the second, and so on."""

    def __init__(self, sources: Sequence[SampleSource]) -> None:
        self.sources = tuple(sources)
        self._stops = list(accumulate(len(source) for source in self.sources))

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(chain.from_iterable(source.keys for source in self.sources))

    def __getitem__(self, index: int) -> Sample:
        source, within = self._find(index)
        return source[within]

    def annotations(self, index: int) -> Annotations | None:
        source, within = self._find(index)
        return source.annotations(within)

    def pose(self, index: int) -> LidarPose:
        source, within = self._find(index)
        return source.pose(within)

    def _find(self, index: int) -> tuple[SampleSource, int]:
        """The source that holds a sample, and the sample's index in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"received index {index}; expected 0…{len(self) - 1}")
        which = bisect_right(self._stops, index)
        before = self._stops[which - 1] if which else 0
        return self.sources[which], index - before
