"""Frames that the self-labelling node kept, read as they lie."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path

from lidarloop_core.errors import DatasetError
from lidarloop_core.labelling.selection.frame_file import SUFFIX, KeptFrame, read_frame, read_header
from lidarloop_core.labelling.selection.frame_store import stored_frames
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey


class KeptFramesSource:
    """The samples of a folder of kept frames, oldest first; their annotations are the labels they were kept with.

    Args:
        folder: the node's folder of kept frames.
        cameras: whether samples carry their images.

    Raises:
        DatasetError: the folder is missing or holds no frame; on access, a frame is damaged.
    """

    def __init__(self, folder: Path, *, cameras: bool = True) -> None:
        self._cameras = cameras
        self.paths = [frame.path for frame in stored_frames(folder)] if folder.is_dir() else []
        if not self.paths:
            raise DatasetError(
                f"{folder} holds no kept frames; expected *{SUFFIX} as the self-labelling node writes them"
            )

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(read_header(path).key for path in self.paths)

    def __getitem__(self, index: int) -> Sample:
        sample = self.frame(index).sample
        return sample if self._cameras else dataclasses.replace(sample, cameras=())

    def annotations(self, index: int) -> Annotations:
        return read_header(self.paths[index]).annotations

    def pose(self, index: int) -> LidarPose:
        return read_header(self.paths[index]).pose

    def frame(self, index: int) -> KeptFrame:
        """The sample with its labels' quality, value, reasons and provenance."""
        return read_frame(self.paths[index])
