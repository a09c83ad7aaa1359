"""The one-cycle schedule as a function of the step alone, so that resuming needs no scheduler state.

Source: Smith and Topin, "Super-Convergence" (2018); cosine form as in fast.ai and CenterPoint's training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class OneCycleConfig:
    """The cycle: the learning rate rises to its peak and falls to nearly 0; Adam's β₁ does the opposite.

    Attributes:
        peak_learning_rate: learning rate at its peak.
        start_divisor: the first step's learning rate is the peak divided by this.
        end_divisor: the last step's learning rate is the first step's divided by this.
        warm_up_share: share of the steps until the peak.
        beta1: Adam's β₁ at the start and the end, and at the peak.
    """

    peak_learning_rate: float = 2e-3
    start_divisor: float = 10.0
    end_divisor: float = 1e4
    warm_up_share: float = 0.3
    beta1: tuple[float, float] = (0.95, 0.85)

    def __post_init__(self) -> None:
        check_ranges(
            "OneCycleConfig",
            peak_learning_rate=(self.peak_learning_rate, 0, 10),
            start_divisor=(self.start_divisor, 1, 1e9),
            end_divisor=(self.end_divisor, 1, 1e9),
            warm_up_share=(self.warm_up_share, 0, 1),
            beta1=(self.beta1, 0, 0.9999),
        )


class OneCycle(NamedTuple):
    """What the optimiser takes at one step."""

    learning_rate: float
    beta1: float


def one_cycle(step: int, num_steps: int, config: OneCycleConfig) -> OneCycle:
    """Learning rate and β₁ of step ``step`` in 0 … ``num_steps`` − 1."""
    start = config.peak_learning_rate / config.start_divisor
    calm, peak = config.beta1
    turn = config.warm_up_share * num_steps - 1
    if step <= turn:
        share = step / turn if turn > 0 else 1.0
        return OneCycle(_cosine(start, config.peak_learning_rate, share), _cosine(calm, peak, share))
    share = (step - turn) / max(num_steps - 1 - turn, 1)
    return OneCycle(_cosine(config.peak_learning_rate, start / config.end_divisor, share), _cosine(peak, calm, share))


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
