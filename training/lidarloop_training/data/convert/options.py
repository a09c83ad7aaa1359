"""What a conversion takes along, and how the tables are laid out."""

from __future__ import annotations

from dataclasses import dataclass

from lidarloop_core.errors import ConfigError
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class ConvertOptions:
    """What a conversion does on the way.

    Attributes:
        cameras: whether images are converted.
        masks: whether the instance masks are written beside them as COCO JSON; toy-town drives only.
        ego_motion: whether KISS-ICP estimates the poses, of a drive that has none.
        num_workers: number of processes that read frames; 0 reads in this one. The result does not depend on it.
        overwrite: whether an existing destination is replaced, if lidarloop wrote it.

    Raises:
        ConfigError: masks without images, or a negative number of processes.
    """

    cameras: bool = True
    masks: bool = False
    ego_motion: bool = False
    num_workers: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.masks and not self.cameras:
            raise ConfigError("received --masks with --no-cameras; expected images to mask: leave one of the two out")
        if self.num_workers < 0:
            raise ConfigError(f"received --num-workers {self.num_workers}; expected 0 (no further process) or more")


@dataclass(frozen=True)
class TablesLayout:
    """Which frames of a drive the tables hold.

    Attributes:
        keyframe_every: number of frames from one annotated keyframe to the next; the others are sweeps.
        sweeps_per_keyframe: number of frames kept as sweeps right before each keyframe; all by default.
    """

    keyframe_every: int = 5
    sweeps_per_keyframe: int | None = None

    def __post_init__(self) -> None:
        check_ranges("TablesLayout", keyframe_every=(self.keyframe_every, 1, 10**6))
        if self.sweeps_per_keyframe is not None:
            check_ranges("TablesLayout", sweeps_per_keyframe=(self.sweeps_per_keyframe, 0, 10**6))
