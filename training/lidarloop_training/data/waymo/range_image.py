"""Waymo's range images → points.

A range image has one row per beam, the highest first, and one column per direction, from straight behind clockwise
round (seen from above); each pixel holds range, intensity, elongation and whether the point lies in a no-label zone. A
range that is not positive means that nothing came back.

Source: the published definitions of Waymo Open Dataset (``RangeImage``, ``BeamInclination``, ``PoseRangeImage`` of v2,
``dataset.proto`` of v1) and the conversion its own tools make. Verified by an inverse of it that is written apart, in
the tests; never run on a real recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3

RANGE, INTENSITY, ELONGATION = 0, 1, 2
"""Channels of a range image; the fourth, no-label zone, is not used."""

MAX_INTENSITY = 255.0


@dataclass(frozen=True)
class RangeImagePoints:
    """The points of one range image, row by row.

    Attributes:
        xyz: (N, 3) float64 metres in the vehicle's frame.
        intensity: (N,) float32 in 0–255, see ``scale_intensity``.
        elongation: (N,) float32, as published: without a unit, the larger the more the pulse was drawn out.
        ring: (N,) int64 row of the image; 0 is the highest beam.
    """

    xyz: npt.NDArray[np.float64]
    intensity: npt.NDArray[np.float32]
    elongation: npt.NDArray[np.float32]
    ring: npt.NDArray[np.int64]


def scale_intensity(intensity: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Waymo's intensities, which have no upper limit (thousands were seen), in 0–255: ``255 tanh(intensity)``.

    tanh is what Waymo's maintainers suggest and what detectors trained on Waymo take; it keeps the small values, where
    nearly all points are, proportional.

    Args:
        intensity: (N,) float32, Waymo's unit.

    Returns:
        (N,) float32.
    """
    scaled: npt.NDArray[np.float32] = np.tanh(np.maximum(intensity, 0.0)) * np.float32(MAX_INTENSITY)
    return scaled


def row_inclinations(
    height: int, minimum_rad: float, maximum_rad: float, values_rad: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float64]:
    """(H,) inclination, radians, above the sensor's xy plane of each row, highest row first.

    Args:
        height: rows of the range image.
        minimum_rad, maximum_rad: the field of view, for beams evenly spread: rows are centred in equal shares of it.
        values_rad: (H,) inclinations from the lowest beam up, where beams are not evenly spread; else None.

    Raises:
        ValueError: there are not as many values as rows.
    """
    if values_rad is None:
        share = (np.arange(height) + 0.5) / height
        return (minimum_rad + share * (maximum_rad - minimum_rad))[::-1]
    if len(values_rad) != height:
        raise ValueError(f"received {len(values_rad)} beam inclinations; expected {height}, one for each row")
    return values_rad[::-1]


def column_azimuths(width: int, vehicle_SE3_lidar: SE3) -> npt.NDArray[np.float64]:
    """(W,) direction of each column about the sensor's z axis, radians.

    Columns are laid out in the vehicle's frame (the middle of the image looks ahead), whatever the sensor's own yaw.
    """
    ahead = np.pi * (1.0 - 2.0 * (np.arange(width) + 0.5) / width)
    return ahead - vehicle_SE3_lidar.yaw_rad


def decode(
    image: npt.NDArray[np.float32],
    inclinations_rad: npt.NDArray[np.float64],
    vehicle_SE3_lidar: SE3,
    *,
    pixel_poses: npt.NDArray[np.float32] | None = None,
    world_SE3_vehicle: SE3 | None = None,
) -> RangeImagePoints:
    """The points of a range image in the vehicle's frame.

    Args:
        image: (H, W, 4).
        inclinations_rad: (H,) from ``row_inclinations``.
        vehicle_SE3_lidar: the sensor's mounting.
        pixel_poses: (H, W, 6) roll, pitch, yaw, x, y, z of the vehicle in the world when each pixel was taken; None
            where the image refers to one vehicle frame already.
        world_SE3_vehicle: the vehicle's pose in whose frame points are wanted; needed with ``pixel_poses``.
    """
    height, width, _ = image.shape
    ranges = image[..., RANGE].reshape(-1)
    pixel = np.flatnonzero(ranges > 0)
    row, column = np.divmod(pixel, width)
    seen = ranges[pixel].astype(np.float64)
    azimuths = column_azimuths(width, vehicle_SE3_lidar)
    level = seen * np.cos(inclinations_rad)[row]
    in_sensor = np.empty((len(pixel), 3))
    in_sensor[:, 0] = level * np.cos(azimuths)[column]
    in_sensor[:, 1] = level * np.sin(azimuths)[column]
    in_sensor[:, 2] = seen * np.sin(inclinations_rad)[row]
    xyz = vehicle_SE3_lidar.transform(in_sensor)
    if pixel_poses is not None:
        assert world_SE3_vehicle is not None
        xyz = _compensate(xyz, pixel_poses.reshape(-1, 6)[pixel], world_SE3_vehicle)
    channels = image.reshape(height * width, -1)[pixel]
    return RangeImagePoints(xyz, scale_intensity(channels[:, INTENSITY]), channels[:, ELONGATION], row)


def _compensate(
    xyz: npt.NDArray[np.float64], poses: npt.NDArray[np.float32], world_SE3_vehicle: SE3
) -> npt.NDArray[np.float64]:
    """Points (N, 3), each in the vehicle's frame at its own pose (N, 6), in the frame of one pose.

    Rotations are yaw · pitch · roll: roll is applied first. Translations are subtracted before anything is turned:
    world coordinates reach tens of kilometres.
    """
    angles = poses[:, :3].astype(np.float64)
    (sr, sp, sy), (cr, cp, cy) = np.sin(angles).T, np.cos(angles).T
    x, y, z = xyz.T
    y, z = cr * y - sr * z, sr * y + cr * z
    x, z = cp * x + sp * z, cp * z - sp * x
    x, y = cy * x - sy * y, sy * x + cy * y
    offset = poses[:, 3:].astype(np.float64) - world_SE3_vehicle.translation
    compensated: npt.NDArray[np.float64] = (np.stack([x, y, z], axis=1) + offset) @ world_SE3_vehicle.rotation
    return compensated
