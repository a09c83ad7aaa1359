"""What of a cloud is used: neither the own vehicle nor what lies beyond the limits of range, height and region."""

from __future__ import annotations

from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3

FloatArray = npt.NDArray[np.float64]

_NO_REGION = np.zeros((0, 2))
_ANY_HEIGHT = (-np.inf, np.inf)


@dataclass(frozen=True)
class CropLimits:
    """Limits of a cloud; by default there is none.

    Attributes:
        min_range_m: points nearer to the LiDAR are left out, metres.
        max_range_m: points farther from the LiDAR are left out, metres.
        height_m: lowest and highest z in the vehicle's frame, metres.
        ego_box_m: x min, x max, y min, y max, z min, z max of the own vehicle in its frame, metres; points inside are
            left out.
        shadow: whether points behind the own vehicle, on rays that pass through its box, are left out too: mirrors and
            windows make ghosts there. A LiDAR inside the box has no shadow.
        region_m: (K, 2) corners x y of a polygon in the vehicle's frame, metres; points outside are left out; without
            corners there is no such limit.
    """

    min_range_m: float = 0.0
    max_range_m: float = np.inf
    height_m: tuple[float, float] = _ANY_HEIGHT
    ego_box_m: tuple[float, ...] = ()
    shadow: bool = False
    region_m: FloatArray = field(default_factory=lambda: _NO_REGION)

    @property
    def needs_mounting(self) -> bool:
        """Whether a limit is in the vehicle's frame."""
        return bool(self.ego_box_m) or bool(len(self.region_m)) or self.height_m != _ANY_HEIGHT

    @property
    def limit_anything(self) -> bool:
        """Whether there is a limit."""
        return self.needs_mounting or self.min_range_m > 0 or np.isfinite(self.max_range_m)


def crop(points: npt.NDArray[np.float32], limits: CropLimits, base_SE3_lidar: SE3 | None) -> npt.NDArray[np.float32]:
    """The points within the limits; those of the input itself where there is no limit.

    Args:
        points: (N, C) float32, x y z first, metres, LiDAR frame.
        limits: the limits.
        base_SE3_lidar: mounting pose; None leaves the limits in the vehicle's frame out.
    """
    if not limits.limit_anything:
        return points
    has_base = base_SE3_lidar is not None and limits.needs_mounting
    pose = base_SE3_lidar if base_SE3_lidar is not None and has_base else SE3.identity()
    low, high = limits.height_m if has_base else _ANY_HEIGHT
    has_box = has_base and bool(limits.ego_box_m)
    box = np.array(limits.ego_box_m if has_box else (0.0, -1.0) * 3).reshape(3, 2)
    inside = bool(((box[:, 0] <= pose.translation) & (pose.translation <= box[:, 1])).all())
    region = np.ascontiguousarray(limits.region_m if has_base else _NO_REGION, np.float64)
    ranges = np.array([limits.min_range_m, limits.max_range_m]) ** 2
    casts = has_box and limits.shadow and not inside
    heights = np.array([low, high])
    kept: npt.NDArray[np.float32] = _kept(points, ranges, pose.rotation, pose.translation, heights, box, casts, region)
    return kept


def inside_region(xy: FloatArray, region_m: FloatArray) -> npt.NDArray[np.bool_]:
    """(N,) whether points x y (N, 2) lie in a polygon of corners (K, 2), metres; all do where there are no corners."""
    if not len(region_m):
        return np.ones(len(xy), np.bool_)
    region = np.ascontiguousarray(region_m, np.float64)
    return np.array([_is_inside(x, y, region) for x, y in np.asarray(xy, np.float64)], np.bool_)


def parse_box(text: str) -> tuple[float, ...]:
    """Reads ``"-1 3.8, -1 1, 0 1.6"``: x, y and z from … to …, metres; nothing for "".

    Raises:
        ConfigError: another form, or a lower bound that is not below the upper one.
    """
    bounds = _pairs(text)
    if bounds is None or len(bounds) not in (0, 3) or (bounds[:, 0] >= bounds[:, 1]).any():
        raise ConfigError(f"received '{text}'; expected x, y and z from and to (m), e.g. '-1 3.8, -1 1, 0 1.6'")
    return tuple(bounds.ravel().tolist())


def parse_interval(text: str) -> tuple[float, float]:
    """Reads ``"-1 4"``, metres; without bounds for "". Raises ConfigError for another form, or bounds in disorder."""
    bounds = _pairs(text)
    if bounds is None or len(bounds) > 1 or (bounds[:, 0] >= bounds[:, 1]).any():
        raise ConfigError(f"received '{text}'; expected the lowest and the highest (m), e.g. '-1 4'")
    return (float(bounds[0, 0]), float(bounds[0, 1])) if len(bounds) else _ANY_HEIGHT


def parse_region(text: str) -> FloatArray:
    """Reads ``"50 20, 50 -20, -10 -20, -10 20"``: (K, 2) corners x y of a polygon, metres; none for "".

    Raises:
        ConfigError: another form, fewer than three corners, or corners on a line.
    """
    corners = _pairs(text)
    if corners is None or (len(corners) and not _area_m2(corners) > 0):
        raise ConfigError(f"received '{text}'; expected three corners x y (m) or more, e.g. '50 20, 50 -20, -10 0'")
    return corners


def _area_m2(corners: FloatArray) -> float:
    """Area of a polygon; 0 with fewer than three corners."""
    x, y = corners.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _pairs(text: str) -> FloatArray | None:
    """(K, 2) numbers of ``"a b, c d"``, none for ""; None for another form."""
    if not text.strip():
        return _NO_REGION
    try:
        pairs = np.array([[float(word) for word in pair.split()] for pair in text.split(",")], np.float64)
    except ValueError:
        return None
    return pairs if pairs.ndim == 2 and pairs.shape[1] == 2 and np.isfinite(pairs).all() else None


@numba.njit(cache=True, nogil=True)
def _kept(points, ranges_m2, rotation, translation, height, box, casts, region):  # type: ignore[no-untyped-def]
    kept = np.empty_like(points)
    num_kept = 0
    base = np.empty(3)
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        if not ranges_m2[0] <= x * x + y * y + z * z <= ranges_m2[1]:
            continue
        for r in range(3):
            base[r] = rotation[r, 0] * x + rotation[r, 1] * y + rotation[r, 2] * z + translation[r]
        if not height[0] <= base[2] <= height[1]:
            continue
        if _crosses(translation if casts else base, base, box):
            continue
        if len(region) and not _is_inside(base[0], base[1], region):
            continue
        kept[num_kept] = points[i]
        num_kept += 1
    return kept[:num_kept]


@numba.njit(cache=True, nogil=True)
def _crosses(start, end, box):  # type: ignore[no-untyped-def]
    """Whether the line from start to end meets a box: the slab method of Kay and Kajiya, 1986."""
    first, last = 0.0, 1.0
    for axis in range(3):
        way = end[axis] - start[axis]
        if way == 0.0:
            if start[axis] < box[axis, 0] or start[axis] > box[axis, 1]:
                return False
            continue
        near, far = (box[axis, 0] - start[axis]) / way, (box[axis, 1] - start[axis]) / way
        first, last = max(first, min(near, far)), min(last, max(near, far))
    return first <= last


@numba.njit(cache=True, nogil=True)
def _is_inside(x, y, region):  # type: ignore[no-untyped-def]
    """Whether a ray along x crosses the polygon's outline an odd number of times."""
    inside = False
    for k in range(len(region)):
        x0, y0 = region[k - 1]
        x1, y1 = region[k]
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside
