"""Samples whose points are painted: the scores of a 2D network as columns of their sweeps (PointPainting)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource
from lidarloop_training.data.writing.paints import columns_of, read_paints


class PaintedSource:
    """A source's samples with paints from files; neither cameras nor networks are needed any more.

    Args:
        source: samples.
        folder: paints of one model, as ``lidarloop paint`` prints the folder.

    Raises:
        DatasetError: there are no paints.
    """

    def __init__(self, source: SampleSource, folder: Path) -> None:
        self.source = source
        self.folder = folder
        self.columns = columns_of(folder)

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def keys(self) -> Sequence[SampleKey]:
        return self.source.keys

    def __getitem__(self, index: int) -> Sample:
        """A sample, its sweeps with the columns ``self.columns`` behind their own.

        Raises:
            DatasetError: the sample was not painted, or of another cloud or with fewer sweeps.
        """
        sample = self.source[index]
        paints = read_paints(self.folder, sample.scene, sample.token)
        painted = []
        for i, sweep in enumerate(sample.sweeps):
            if i >= len(paints.by_sweep) or paints.stamps_ns[i] != sweep.stamp_ns:
                raise DatasetError(
                    f"{self.folder}: sample {sample.token} is painted with {len(paints.by_sweep)} sweeps, and not with "
                    f"its sweep {i} of {len(sample.sweeps)}; expected all that are read: paint with --num-sweeps "
                    f"{len(sample.sweeps)} into another folder"
                )
            colour = paints.by_sweep[i]
            if colour.shape != (len(sweep.points), len(self.columns)):
                raise DatasetError(
                    f"{self.folder}: sample {sample.token} has paint of shape {colour.shape} for sweep {i}; expected "
                    f"{(len(sweep.points), len(self.columns))}: the drive has changed, paint it again"
                )
            points = np.concatenate([sweep.points, colour], axis=1)
            painted.append(replace(sweep, points=points, columns=(*sweep.columns, *self.columns)))
        return replace(sample, sweeps=tuple(painted))

    def annotations(self, index: int) -> Annotations | None:
        return self.source.annotations(index)

    def pose(self, index: int) -> LidarPose:
        return self.source.pose(index)
