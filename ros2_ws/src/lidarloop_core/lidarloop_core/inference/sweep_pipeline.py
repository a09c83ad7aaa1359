"""SweepPipeline: sweeps in, boxes out. Kept, merged and grouped on the host or on the GPU, with the same result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lidarloop_core.inference.detector import Detections, Detector
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import Sweep


@dataclass(frozen=True)
class SweepDetections:
    """What was found in a sweep and those merged with it.

    Attributes:
        found: in the newest sweep's LiDAR frame; ``num_points`` and what follows it are about the merged cloud as it
            was grouped, and ``stage_ms`` begins with ``merge``.
        num_sweeps: merged, the newest included.
        num_points: of them all, before the cloud was thinned to the most that one may have.
    """

    found: Detections
    num_sweeps: int
    num_points: int


class SweepPipeline(Protocol):
    """Detects in each sweep together with those before it that belong to it (``SweepBuffer`` says which).

    Attributes:
        detector: may be replaced at any time by one of the same backend, e.g. with other thresholds.
        columns: of the sweeps.
    """

    detector: Detector
    columns: tuple[str, ...]

    def detect(self, newest: Sweep) -> SweepDetections:
        """Finds the objects. May be called again with the same sweep: it is kept only when all has gone well.

        Raises:
            CloudFormatError: a sweep of other columns.
            BackendError: the network or its device failed.
        """
        ...

    def forget(self) -> None:
        """Forgets all sweeps, e.g. after time jumped back."""
        ...

    def adopt(self, before: SweepPipeline) -> None:
        """Takes over the sweeps of the pipeline this one takes the place of, if it can use them."""
        ...

    def warm_up(self) -> None:
        """Compiles and allocates what can be before the first sweep, and keeps nothing."""
        ...

    def close(self) -> None:
        """Frees what the sweeps hold. Nothing is detected afterwards."""
        ...


def sweep_columns(spec: ModelSpec) -> tuple[str, ...]:
    """What a sweep must have for a model: its columns without the age, which merging adds."""
    return tuple(name for name in spec.point_columns if name != "dt")
