"""Times of lifting, stage by stage: what ``lidarloop bench labelling`` measures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import Sample

_WARM_UP = 3


@dataclass(frozen=True)
class LiftingTimes:
    """Durations of a number of runs.

    Attributes:
        stages: stage → (R,) float64, milliseconds, cameras summed.
        whole_ms: (R,) float64, milliseconds from sample to labels.
        num_points, num_masks, num_labels: counts in the sample.
    """

    stages: dict[str, npt.NDArray[np.float64]]
    whole_ms: npt.NDArray[np.float64]
    num_points: int
    num_masks: int
    num_labels: int

    @property
    def frames_per_s(self) -> float:
        """Samples lifted a second, at the median."""
        return float(1000 / np.median(self.whole_ms))


def time_lifting(
    config: LiftingConfig,
    sample: Sample,
    found: Mapping[str, InstanceMasks],
    *,
    priors: ShapePriors | None = None,
    lanes: LaneLookup | None = None,
    num_runs: int = 30,
) -> LiftingTimes:
    """Lifts one sample again and again, in this process and thread.

    Args:
        config: the steps.
        sample: the sample to lift.
        found: camera name → its masks.
        priors: sizes of objects; the paper's by default.
        lanes: lanes that yaws are taken from; none by default.
        num_runs: number of runs, after three to warm up.
    """
    runs: list[dict[str, float]] = []
    whole_ms = []
    for _ in range(_WARM_UP + num_runs):
        stages: dict[str, float] = {}

        def passed(stage: str, ms: float, stages: dict[str, float] = stages) -> None:
            stages[stage] = stages.get(stage, 0.0) + ms

        start_ns = time.perf_counter_ns()
        labels, _ = lift(sample, found, priors or ShapePriors.paper(), config, lanes, passed)
        whole_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
        runs.append(stages)
    measured = runs[_WARM_UP:]
    return LiftingTimes(
        {stage: np.array([run[stage] for run in measured]) for stage in measured[0]},
        np.array(whole_ms[_WARM_UP:]),
        sum(len(sweep.points) for sweep in sample.sweeps[: config.num_sweeps]),
        sum(len(masks) for masks in found.values()),
        len(labels),
    )
