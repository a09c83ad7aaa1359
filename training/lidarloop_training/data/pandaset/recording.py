"""What a PandaSet sequence holds, however it is laid out on disk; all of it in our vehicle frame.

That frame is the one of PandaSet's poses, turned: x forward, y left, z up, its origin near the ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.data.nuscenes.lidarseg_classes import LABEL_NAMES
from lidarloop_training.data.pandaset.classes import POINT_CLASS_TO_LABEL_NAME

PANDAR64 = 0
"""Number of the spinning LiDAR in PandaSet's columns; 1 is the PandarGT, which looks ahead."""

BOTH_SENSORS = -1
"""A cuboid that holds for the points of either LiDAR."""

CAMERAS = {
    "front_camera": "CAM_FRONT",
    "front_left_camera": "CAM_FRONT_LEFT",
    "left_camera": "CAM_LEFT",
    "back_camera": "CAM_BACK",
    "right_camera": "CAM_RIGHT",
    "front_right_camera": "CAM_FRONT_RIGHT",
}
"""PandaSet's name of a camera → ours."""


@dataclass(frozen=True)
class Cloud:
    """The Pandar64's points of one sweep.

    Attributes:
        points: (N, 4) float32 x y z in metres, vehicle frame, and intensity of 0–255.
        labels: (N,) uint8 index into nuScenes-lidarseg's ``LABEL_NAMES``; None where points are not labelled.
    """

    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8] | None


@dataclass(frozen=True)
class Cuboids:
    """The labelled objects of one sweep.

    Attributes:
        names: N PandaSet classes.
        tracks: N identities.
        values: (N, 7) float64 x y z length width height yaw, metres and radians, vehicle frame, z at the centre.
        sensors: (N,) int64 number of the LiDAR whose points a cuboid fits, or ``BOTH_SENSORS``.
    """

    names: tuple[str, ...]
    tracks: tuple[str, ...]
    values: npt.NDArray[np.float64]
    sensors: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Picture:
    """One image of one camera.

    Attributes:
        name: our name of the camera.
        path: JPEG file.
        intrinsics: (3, 3) pinhole matrix, pixels. The published distortion belongs to other images and is not applied.
        stamp_ns: exposure, nanoseconds.
        world_SE3_camera: pose of the optical frame at the exposure.
    """

    name: str
    path: Path
    intrinsics: npt.NDArray[np.float64]
    stamp_ns: int
    world_SE3_camera: SE3


class Recording(Protocol):
    """A sequence; positions count the frames that are there."""

    @property
    def name(self) -> str:
        """Number of the sequence, such as "002"."""
        ...

    @property
    def frames(self) -> Sequence[int]:
        """PandaSet's numbers of the frames."""
        ...

    @property
    def stamps_ns(self) -> Sequence[int]:
        """Stamps of the sweeps, nanoseconds."""
        ...

    @property
    def poses(self) -> Sequence[SE3]:
        """``world_SE3_ego`` of the sweeps."""
        ...

    @property
    def has_labels(self) -> bool:
        """Whether there are cuboids."""
        ...

    @property
    def has_point_labels(self) -> bool:
        """Whether points have classes."""
        ...

    def cloud(self, position: int) -> Cloud:
        """Raises DatasetError: the file is missing or damaged."""
        ...

    def cuboids(self, position: int) -> Cuboids:
        """Raises DatasetError: the file is missing or damaged."""
        ...

    def pictures(self, position: int) -> Sequence[Picture]:
        """Raises DatasetError: a calibration is missing or damaged."""
        ...


def point_labels(names_of_ids: dict[int, str], ids: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """(N,) PandaSet's class ids → (N,) index into nuScenes-lidarseg's ``LABEL_NAMES``, 0 where it has no such class."""
    lookup = np.zeros(max([0, *names_of_ids]) + 1, np.uint8)
    for number, name in names_of_ids.items():
        lookup[number] = LABEL_NAMES.index(POINT_CLASS_TO_LABEL_NAME.get(name, "ignore"))
    known = (ids >= 0) & (ids < len(lookup))
    return np.where(known, lookup[np.where(known, ids, 0)], 0).astype(np.uint8)
