"""A drive's labels, refined by looking at all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.refine import refine
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame


def refined(
    frames: Sequence[LabelledFrame], config: RefineConfig | None, clouds: SampleSource | None
) -> list[LabelledFrame]:
    """A drive's frames with their labels refined; as they are where that is not wanted, there is no ego-motion, or only
    one frame.

    Args:
        frames: labelled samples of one drive, in order.
        config: steps of the refinement; None leaves it out.
        clouds: source of the samples: its clouds confirm and correct; None for labels without a LiDAR.
    """
    poses = [frame.world_SE3_lidar for frame in frames if frame.world_SE3_lidar is not None]
    if config is None or len(poses) < len(frames) or len(frames) < 2:
        return list(frames)

    def cloud_of(position: int) -> npt.NDArray[np.float32]:
        assert clouds is not None
        return clouds[frames[position].index].keyframe.points

    labels = refine(
        [frame.labels for frame in frames],
        [frame.stamp_ns for frame in frames],
        poses,
        config,
        None if clouds is None else cloud_of,
    )
    return [dataclasses.replace(frame, labels=better) for frame, better in zip(frames, labels, strict=True)]
