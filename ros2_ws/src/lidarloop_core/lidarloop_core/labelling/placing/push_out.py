"""Push-out: a point on an object's near side → the object's centre."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def push_out(
    surface: npt.NDArray[Any], sizes: npt.NDArray[Any], yaws: npt.NDArray[Any], sensor_xy: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Moves points away from the sensor, along the ray in the ground plane, by half the box's extent along it.

    A ray at angle ``a`` to the box's heading that passes through its centre leaves it ``l / 2|cos a|`` from the centre
    if it leaves through the front or back and ``w / 2|sin a|`` if through a side: whichever comes first. That is the
    rule of CM3D's code; there the ray starts at the ego's origin, here at the LiDAR that saw the point.

    Args:
        surface: (M, 3) points, metres.
        sizes: (M, 3) length, width, height, metres.
        yaws: (M,) headings of the boxes, radians.
        sensor_xy: (2,) position of the sensor, metres, same frame.

    Returns:
        (M, 3) float64 centres; a point at the sensor itself is moved along +x.
    """
    surface = np.asarray(surface, np.float64)
    ray = np.arctan2(surface[:, 1] - sensor_xy[1], surface[:, 0] - sensor_xy[0])
    with np.errstate(divide="ignore"):
        through_front = sizes[:, 0] / 2 / np.abs(np.cos(yaws - ray))
        through_side = sizes[:, 1] / 2 / np.abs(np.sin(yaws - ray))
    half = np.minimum(through_front, through_side)
    center: npt.NDArray[np.float64] = surface + np.stack(
        [half * np.cos(ray), half * np.sin(ray), np.zeros_like(half)], axis=1
    )
    return center
