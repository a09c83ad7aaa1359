"""Sample: what every data source yields and every consumer takes.

A source is a class with ``len`` and ``[i]`` that reads lazily, like a torch Dataset, and that names its samples, gives
their labels and their poses without reading a cloud or an image; a new source is one file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3


@dataclass(frozen=True)
class Sweep:
    """One revolution of a LiDAR, in its own frame at ``stamp_ns``.

    Attributes:
        points: (N, C) float32; columns named by ``columns``, of which the first three are x y z in metres.
        columns: e.g. ``("x", "y", "z", "intensity", "ring")``.
        stamp_ns: the time the points are valid at, nanoseconds.
        ego_SE3_lidar: mounting pose.
        world_SE3_ego: ego pose at ``stamp_ns``; None where the source has no ego-motion.
    """

    points: npt.NDArray[np.float32]
    columns: tuple[str, ...]
    stamp_ns: int
    ego_SE3_lidar: SE3
    world_SE3_ego: SE3 | None


@dataclass(frozen=True)
class CameraImage:
    """One camera picture, decoded when asked for.

    Attributes:
        name: e.g. ``"CAM_FRONT"``.
        load: gives the (H, W, 3) uint8 RGB picture.
        intrinsics: (3, 3) pinhole matrix in pixels, of the rectified picture.
        width, height: pixels.
        stamp_ns: exposure time, nanoseconds.
        ego_SE3_camera: mounting pose of the optical frame (x right, y down, z forward).
        world_SE3_ego: ego pose at ``stamp_ns``; None where the source has no ego-motion.
    """

    name: str
    load: Callable[[], npt.NDArray[np.uint8]]
    intrinsics: npt.NDArray[np.float64]
    width: int
    height: int
    stamp_ns: int
    ego_SE3_camera: SE3
    world_SE3_ego: SE3 | None


def camera_SE3_lidar(image: CameraImage, keyframe: Sweep) -> SE3:
    """From the keyframe LiDAR's frame at its stamp to the optical frame at the exposure.

    The vehicle moves between the two; where an ego pose is missing it is taken to stand still.
    """
    ego_SE3_lidar = keyframe.ego_SE3_lidar
    if image.world_SE3_ego is not None and keyframe.world_SE3_ego is not None:
        ego_SE3_lidar = image.world_SE3_ego.inverse() @ keyframe.world_SE3_ego @ ego_SE3_lidar
    return image.ego_SE3_camera.inverse() @ ego_SE3_lidar


@dataclass(frozen=True)
class Annotations:
    """Ground truth of one sample.

    Attributes:
        boxes: N boxes in the frame of the keyframe LiDAR (``Sample.sweeps[0]``); scores 1.
        instance_ids: N strings, equal for the same object over a drive.
        num_lidar_pts: (N,) int64 LiDAR points of the keyframe sweep on each object, as the data set counts them; where
            it does not, those inside the box; -1 where unknown. A simulator counts returns of the object itself, which
            may be fewer than there are inside its box.
        visibility: (N,) float32 visible share in [0, 1] over all cameras; NaN where unknown.
        in_view_only: whether objects that no camera of the sample sees may lack a label; False by default.
    """

    boxes: Boxes3D
    instance_ids: tuple[str, ...]
    num_lidar_pts: npt.NDArray[np.int64]
    visibility: npt.NDArray[np.float32]
    in_view_only: bool = False


@dataclass(frozen=True)
class LaneMap:
    """Lane centre lines of a drive.

    Attributes:
        centerlines: polylines in the world frame, each (K, 3) float64 metres, K ≥ 2, in driving direction.
        lane_ids: one name for each.
        drivable_area: polygons in the world frame, each (K, 2) float64 metres; may be empty.
        in_intersection: whether each centre line lies in an intersection, where lanes cross; empty where the map does
            not tell.
    """

    centerlines: tuple[npt.NDArray[np.float64], ...]
    lane_ids: tuple[str, ...]
    drivable_area: tuple[npt.NDArray[np.float64], ...] = ()
    in_intersection: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A keyframe with what is needed to label, train on or score it.

    Attributes:
        token: unique within its source; the key of the results file.
        scene: the drive's name.
        stamp_ns: the keyframe sweep's stamp.
        sweeps: newest first; ``sweeps[0]`` is the keyframe.
        cameras: pictures nearest to the keyframe; may be empty.
        annotations: None where the source is unlabelled.
        lane_map: None where there is no map.
        point_classes: names of what the column ``label`` of the sweeps' points holds, by label; label 0 is not scored.
            Empty where points are not labelled.
    """

    token: str
    scene: str
    stamp_ns: int
    sweeps: tuple[Sweep, ...]
    cameras: tuple[CameraImage, ...] = ()
    annotations: Annotations | None = None
    lane_map: LaneMap | None = field(default=None, repr=False)
    point_classes: tuple[str, ...] = ()

    @property
    def keyframe(self) -> Sweep:
        return self.sweeps[0]


class SampleKey(NamedTuple):
    """What a sample is called.

    Attributes:
        token: sample token, unique within the source; ``Sample.token``.
        drive: name of the drive; ``Sample.scene``.
        stamp_ns: stamp of the keyframe sweep, nanoseconds.
    """

    token: str
    drive: str
    stamp_ns: int


@dataclass(frozen=True)
class LidarPose:
    """Where the keyframe LiDAR of a sample is.

    Attributes:
        ego_SE3_lidar: mounting pose, metres.
        world_SE3_ego: ego pose at the stamp of the keyframe, metres; None where the source has no ego-motion.
    """

    ego_SE3_lidar: SE3
    world_SE3_ego: SE3 | None

    @staticmethod
    def of(sweep: Sweep) -> LidarPose:
        return LidarPose(sweep.ego_SE3_lidar, sweep.world_SE3_ego)

    @property
    def world_SE3_lidar(self) -> SE3 | None:
        """The LiDAR in the world frame; None where the source has no ego-motion."""
        return None if self.world_SE3_ego is None else self.world_SE3_ego @ self.ego_SE3_lidar


@runtime_checkable
class SampleSource(Protocol):
    """A data source. Clouds and images are read by ``[i]`` alone.

    ``keys[i]``, ``annotations(i)`` and ``pose(i)`` give the same as ``[i]``, with one exception: where a data set
    publishes no point counts, ``[i]`` counts the points of its cloud, and ``annotations(i)`` gives -1 (unknown) for
    each object. A visibility that follows from the cloud is NaN (unknown) there.
    """

    @property
    def keys(self) -> Sequence[SampleKey]:
        """The names of all samples, in order."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def annotations(self, index: int) -> Annotations | None:
        """The ground truth of one sample, in the keyframe LiDAR's frame; None where it is not labelled.

        Raises:
            DatasetError: the labels are missing or damaged.
        """
        ...

    def pose(self, index: int) -> LidarPose:
        """Where the keyframe LiDAR of one sample is.

        Raises:
            DatasetError: a pose is missing or damaged.
        """
        ...
