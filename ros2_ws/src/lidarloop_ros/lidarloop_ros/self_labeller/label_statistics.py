"""LabelStatistics: what became of clouds between two diagnostic reports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class LabelStatistics:
    """What happened since the last report.

    Attributes:
        num_clouds: clouds received.
        num_labelled: clouds labelled.
        num_labels: labels of all labelled clouds.
        rejected: why the last cloud that could not be labelled was rejected, or "".
        failed: the exception that ended the labelling of a cloud last, or "".
        degraded: what was missing → number of clouds.
        left_out: why a mask or camera was not lifted → number of masks and cameras.
        stage_ms: stage → its duration for the last labelled cloud, milliseconds.
        time_jumps: number of jumps back in time.
        mixed_clocks: which two clocks the clouds were of, or "".
    """

    num_clouds: int = 0
    num_labelled: int = 0
    num_labels: int = 0
    rejected: str = ""
    failed: str = ""
    degraded: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    stage_ms: dict[str, float] = field(default_factory=dict)
    time_jumps: int = 0
    mixed_clocks: str = ""
