"""How often the stand-in for a 2D vision model fails, and in which ways."""

from __future__ import annotations

from dataclasses import dataclass

from lidarloop_core.errors import ConfigError


@dataclass(frozen=True)
class FaultRates:
    """How often the model fails; probabilities for each object.

    Attributes:
        missed: not found at all; twice as often where the object shows fewer than 60 pixels.
        merged: taken together with a touching neighbour of its class.
        mislabelled: called by the name of the class it is most easily confused with.
        loose: mask grown by a pixel or two, box by up to ``looseness`` of its size on each side.
        looseness: share of width and height.
    """

    missed: float = 0.1
    merged: float = 0.3
    mislabelled: float = 0.05
    loose: float = 0.3
    looseness: float = 0.15

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            if not 0 <= rate <= 1:
                raise ConfigError(f"FaultRates received {name} = {rate}; expected a probability between 0 and 1")
