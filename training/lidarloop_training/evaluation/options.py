"""How a results file is scored; imported by the command line, so that it imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lidarloop_core.errors import ConfigError

Metric = Literal["nuscenes", "kitti", "waymo"]


@dataclass(frozen=True)
class ScoringOptions:
    """How results are scored.

    Attributes:
        metric: kitti and waymo add that benchmark's own numbers; kitti needs the object benchmark's folder.
        class_agnostic: every box counts as an object of one class, for results made without labels.
        resamples: bootstrap draws for the 95 % intervals; 0 for no intervals.
        allow_missing: take a frame without results as one in which nothing was detected, instead of failing.
    """

    metric: Metric = "nuscenes"
    class_agnostic: bool = False
    resamples: int = 1000
    allow_missing: bool = False

    def check(self) -> None:
        """Refuses what cannot be scored.

        Raises:
            ConfigError: a negative number of draws, or a metric by class together with ``class_agnostic``.
        """
        if self.resamples < 0:
            raise ConfigError(f"received --resamples {self.resamples}; expected 0 for none, or about 1000")
        if self.class_agnostic and self.metric != "nuscenes":
            raise ConfigError(
                f"received --class-agnostic with --metric {self.metric}, which scores by class; expected one of them"
            )
