"""A drive's labels, refined by looking at all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.points.frustum import looked_at
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.refine import refine
from lidarloop_core.sample import CameraImage, SampleSource, Sweep
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame


def refined(
    frames: Sequence[LabelledFrame], config: RefineConfig | None, clouds: SampleSource | None
) -> list[LabelledFrame]:
    """A drive's frames with their labels refined; as they are where that is not wanted, there is no ego-motion, or only
    one frame.

    Args:
        frames: labelled samples of one drive, in order.
        config: steps of the refinement; None leaves it out.
        clouds: source of the samples: its clouds confirm and correct, and its cameras, if it has some, tell which
            places were looked at; None for labels without a LiDAR.
    """
    poses = [frame.world_SE3_lidar for frame in frames if frame.world_SE3_lidar is not None]
    if config is None or len(poses) < len(frames) or len(frames) < 2:
        return list(frames)

    views: dict[int, tuple[tuple[CameraImage, ...], Sweep]] = {}

    def cloud_of(position: int) -> npt.NDArray[np.float32]:
        assert clouds is not None
        sample = clouds[frames[position].index]
        views[position] = sample.cameras, dataclasses.replace(sample.keyframe, points=sample.keyframe.points[:0])
        return sample.keyframe.points

    def looks_at(position: int, places: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        cameras, keyframe = views[position]  # each cloud was asked for before
        return looked_at(places, cameras, keyframe) if cameras else np.ones(len(places), np.bool_)

    labels = refine(
        [frame.labels for frame in frames],
        [frame.stamp_ns for frame in frames],
        poses,
        config,
        None if clouds is None else cloud_of,
        looks_at=None if clouds is None else looks_at,
    )
    return [dataclasses.replace(frame, labels=better) for frame, better in zip(frames, labels, strict=True)]
