"""Rolling shutter of a spinning LiDAR: at the stamp a moving object is no longer where its points are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.refining.tracks import Track

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RollingShutter:
    """Rotation of a LiDAR whose stamps are the ends of revolutions.

    Attributes:
        period_s: time of one revolution, seconds.
        seam_rad: bearing at which revolutions begin and end, LiDAR's frame, counter-clockwise from its x axis.
        clockwise: direction of rotation, seen from above.
    """

    period_s: float
    seam_rad: float = np.pi
    clockwise: bool = True

    def age_s(self, points: npt.NDArray[Any]) -> FloatArray:
        """(N,) time from the scan of (N, ≥2) places, metres, LiDAR's frame, to the stamp, seconds."""
        bearing = np.arctan2(points[:, 1], points[:, 0])
        rotated = (self.seam_rad - bearing if self.clockwise else bearing - self.seam_rad) % (2 * np.pi)
        return np.asarray(self.period_s * (1 - rotated / (2 * np.pi)))


def at_stamps(tracks: Sequence[Track], drive_SE3_lidar: Sequence[SE3], rolling_shutter: RollingShutter) -> list[Track]:
    """Moves tracks from the places at which the LiDAR scanned them to their places at the stamps."""
    return [track if track.stands else _moved_on(track, drive_SE3_lidar, rolling_shutter) for track in tracks]


def _moved_on(track: Track, drive_SE3_lidar: Sequence[SE3], rolling_shutter: RollingShutter) -> Track:
    poses = zip(track.values[:, :3], drive_SE3_lidar, strict=True)
    seen_from_lidar = np.array([pose.inverse().transform(center[None])[0] for center, pose in poses])
    values = track.values.copy()
    values[:, :2] += values[:, 7:9] * rolling_shutter.age_s(seen_from_lidar)[:, None]
    return replace(track, values=values)
