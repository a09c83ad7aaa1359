"""A share of a source's labels: the part that is taken as labelled, and the rest, taken as unlabelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.views.subset import SubsetSource


@dataclass(frozen=True)
class LabelShare:
    """How much of the labels is used, and which.

    Attributes:
        percent: share of the units that is labelled, in per cent; rounded to at least one unit.
        unit: complete drives, as people label them, or single samples spread over all drives, as the tables of papers
            on semi-supervised detection often mean it. Five per cent of single samples have seen every street.
        seed: another seed takes another part; a larger percentage of one seed holds the smaller ones.
    """

    percent: float = 100.0
    unit: Literal["drive", "sample"] = "drive"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise ConfigError(f"LabelShare received percent {self.percent:g}; expected more than 0, at most 100")


class Split(NamedTuple):
    """A source in two parts, each in the source's order."""

    labelled: SubsetSource
    rest: SubsetSource

    @staticmethod
    def unlabelled(source: SampleSource) -> Split:
        """All samples taken as unlabelled."""
        return Split(SubsetSource(source, []), SubsetSource(source, np.arange(len(source))))


def split_labels(source: SampleSource, share: LabelShare) -> Split:
    """Takes the share; reads no cloud."""
    num_samples = len(source)
    if share.percent == 100:
        return Split(SubsetSource(source, np.arange(num_samples)), SubsetSource(source, []))
    unit = np.arange(num_samples) if share.unit == "sample" else _drives(source)
    num_units = int(unit.max(initial=-1)) + 1
    order = np.random.default_rng(share.seed).permutation(num_units)
    taken = np.isin(unit, order[: max(1, round(num_units * share.percent / 100))])
    return Split(SubsetSource(source, np.flatnonzero(taken)), SubsetSource(source, np.flatnonzero(~taken)))


def _drives(source: SampleSource) -> npt.NDArray[np.int64]:
    """(len,) which drive each sample is of, drives counted in the order they appear."""
    numbers: dict[str, int] = {}
    drives = [numbers.setdefault(key.drive, len(numbers)) for key in source.keys]
    return np.array(drives, np.int64)
