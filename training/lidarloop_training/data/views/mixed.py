"""Two sources in one, of which each batch holds a stated share."""

from __future__ import annotations

from lidarloop_core.sample import SampleSource
from lidarloop_training.data.views.concat import ConcatSource


class MixedSource(ConcatSource):
    """All samples of the first source, then all of the second.

    Args:
        first: samples of one kind, such as simulated ones.
        second: samples of another, such as real ones.
        second_share: share of the second in each training batch, in (0, 1).
    """

    def __init__(self, first: SampleSource, second: SampleSource, second_share: float) -> None:
        super().__init__([first, second])
        self.second_share = second_share

    @property
    def shares(self) -> tuple[tuple[int, float], ...]:
        """(number of samples, share of a batch) of each source."""
        first, second = self.sources
        return (len(first), 1 - self.second_share), (len(second), self.second_share)
