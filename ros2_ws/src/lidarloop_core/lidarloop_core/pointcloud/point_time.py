"""When each point of a cloud was measured: the time fields of drivers, in seconds after the cloud's stamp.

Drivers differ in the field's name, its unit and what it counts from. All three follow from the values of one cloud,
because a sweep lasts 0.01 to 1.5 s, so that the units do not overlap; each can also be set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.pointcloud.decode import PointColumns, decode_cloud, raw_points
from lidarloop_core.pointcloud.guard import NO_LIMITS, GuardedPoints, Limits, guard_points

TIME_COLUMN = "time"
"""Name of the column that holds the seconds after the sweep's stamp."""

TIME_FIELDS = ("t", "time", "timestamp", "time_stamp", "offset_time", "time_offset")
"""Names that drivers use, e.g. Ouster t, Velodyne time, Hesai timestamp, Autoware time_stamp, Livox offset_time."""

Unit = Literal["auto", "s", "ms", "us", "ns"]
StampAt = Literal["auto", "start", "end"]

UNITS: dict[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Unit → seconds."""

_SHORTEST_S, _LONGEST_S = 0.01, 1.5
# Before this time since the clock's start, absolute times look like those relative to the stamp.
_CLOCK_JUST_STARTED_NS = 10_000_000_000
# float32 keeps 2^24 whole numbers apart: 0.1 s in ns relative to the stamp, to 8 ns; an absolute time to 128 s alone.
_FLOAT32_DIGITS = float(2**24)


class PointTimeError(CloudFormatError):
    """A cloud whose points' times are missing or cannot be told apart; it can be used as it is, with its skew."""


@dataclass(frozen=True)
class PointTimeSettings:
    """What is known beforehand of the points' times.

    Attributes:
        field: the cloud's field; "" takes the first of ``TIME_FIELDS`` that there is.
        unit: unit of its values; ``auto`` finds it by the sweep's length.
        stamp_at: where in the sweep the cloud's stamp lies: at the time of its first point (``start``) or of its last
            (``end``), whatever the values count from; ``auto`` takes them as relative to the stamp or as absolute,
            whichever they are.
    """

    field: str = ""
    unit: Unit = "auto"
    stamp_at: StampAt = "auto"


@dataclass(frozen=True)
class TimeConvention:
    """How a driver writes the times of points.

    Attributes:
        field: the cloud's field.
        unit: unit of its values, of ``UNITS``.
        origin: what they count from: the cloud's ``stamp``, the stamp's ``clock``, or the sweep's own ``start`` or
            ``end``, which the stamp is taken to lie at.
    """

    field: str
    unit: str
    origin: Literal["stamp", "clock", "start", "end"]


@dataclass(frozen=True)
class PointTimes:
    """The times of a cloud's points.

    Attributes:
        seconds: (N,) float32 seconds after the cloud's stamp; what a point without a return has is undefined.
        first_s: earliest of the points with a return, seconds after the stamp.
        last_s: latest of them, seconds after the stamp.
        convention: how the driver wrote them.
    """

    seconds: npt.NDArray[np.float32]
    first_s: float
    last_s: float
    convention: TimeConvention

    @property
    def fit_a_sweep(self) -> bool:
        """Whether all lie as near to the stamp as the points of a sweep do."""
        return -_LONGEST_S <= self.first_s <= self.last_s <= _LONGEST_S

    def __str__(self) -> str:
        origin = {"stamp": "relative to the stamp", "clock": "absolute"}.get(
            self.convention.origin, "relative to the sweep"
        )
        length_s = self.last_s - self.first_s
        places = {"start": self.first_s, "middle": (self.first_s + self.last_s) / 2, "end": self.last_s}
        nearest = min(places, key=lambda place: abs(places[place]))
        is_near = abs(places[nearest]) <= 0.15 * length_s
        where = f"the sweep's {nearest}" if is_near else f"{-1e3 * self.first_s:.0f} ms after its first point"
        return (
            f"{self.convention.field} in {self.convention.unit}, {origin}; {1e3 * length_s:.0f} ms long, stamped at "
            f"{where}"
        )


@dataclass(frozen=True)
class TimedPoints:
    """Points with the time of each.

    Attributes:
        received: what ``guard_points`` leaves; its points have ``TIME_COLUMN`` as their last column, zeros where
            times are unknown.
        times: the times as the driver wrote them; None where they are unknown, or there is no point.
        problem: why times are unknown, with the remedy, or "".
    """

    received: GuardedPoints
    times: PointTimes | None
    problem: str


class PointTimeReader:
    """Reads the times of one LiDAR's points, and keeps to the convention that it found first.

    Args:
        settings: what is known beforehand.
    """

    def __init__(self, settings: PointTimeSettings | None = None) -> None:
        self._settings = settings or PointTimeSettings()
        self._convention: TimeConvention | None = None

    def read_points(self, msg: Any, columns: Sequence[str], stamp_ns: int, limits: Limits = NO_LIMITS) -> TimedPoints:
        """Reads some columns of a PointCloud2, as ``decode.read_points`` does, and the time of each point.

        Args:
            msg: message, as for ``decode_cloud``.
            columns: names of the columns in order; the first three are x, y, z.
            stamp_ns: the cloud's stamp, nanoseconds.
            limits: limits of single columns.

        Raises:
            CloudFormatError: a column is missing or holds several values per point, or the layout contradicts itself.
        """
        cloud = decode_cloud(msg)
        points = raw_points(cloud, columns, num_further=1)
        times, problem = None, ""
        try:
            times = self.read(cloud, stamp_ns) if len(points) else None
        except PointTimeError as error:
            problem = str(error)
        points[:, -1] = 0.0 if times is None else times.seconds
        return TimedPoints(guard_points(points, (*columns, TIME_COLUMN), limits), times, problem)

    def read(self, cloud: PointColumns, stamp_ns: int) -> PointTimes:
        """The times of all points of a cloud.

        Args:
            cloud: columns x, y, z among them, metres.
            stamp_ns: the cloud's stamp, nanoseconds.

        Raises:
            PointTimeError: there is no field of times, all are equal, or their unit or clock cannot be found.
        """
        field = self._field(cloud)
        raw = cloud[field]
        if raw.ndim != 1 or not len(raw):
            raise PointTimeError(f"field '{field}' received shape {raw.shape}; expected one value for each point")
        known = self._convention
        if known is not None and known.field == field:
            times = _converted(raw, known, cloud, stamp_ns)
            if times.fit_a_sweep:
                return times
        convention = self._found(field, raw, cloud, stamp_ns)
        times = _converted(raw, convention, cloud, stamp_ns)
        if not times.fit_a_sweep:
            raise PointTimeError(
                f"field '{field}' has times from {times.first_s:g} to {times.last_s:g} s after the stamp, read in "
                f"{convention.unit}; expected them within {_LONGEST_S} s of it: check the driver, and the unit if set"
            )
        if stamp_ns > _CLOCK_JUST_STARTED_NS:
            self._convention = convention
        return times

    def _field(self, cloud: PointColumns) -> str:
        wanted = (self._settings.field,) if self._settings.field else TIME_FIELDS
        found = [name for name in wanted if name in cloud.names]
        if not found:
            raise PointTimeError(
                f"clouds have no time for each point: expected a field {' or '.join(wanted)}, found "
                f"{', '.join(cloud.names[:16])}. Take the driver's point type with times, or switch deskewing off"
            )
        return found[0]

    def _found(self, field: str, raw: npt.NDArray[Any], cloud: PointColumns, stamp_ns: int) -> TimeConvention:
        lowest, highest = _extent(raw.astype(np.float64), _has_return(cloud))
        if raw.dtype.kind == "f" and raw.dtype.itemsize == 4 and _is_cut_off(lowest, highest):
            raise PointTimeError(
                f"field '{field}' has absolute times of {highest:g} in 32 bits, which keep them apart by "
                f"{np.spacing(np.float32(highest)):g} alone: take the driver's times in 64 bits, or relative ones"
            )
        unit = self._settings.unit
        if unit == "auto":
            unit = _unit(field, highest - lowest, may_be_seconds=raw.dtype.kind == "f")
        if self._settings.stamp_at != "auto":
            return TimeConvention(field, unit, self._settings.stamp_at)
        first_s, last_s, stamp_s = lowest * UNITS[unit], highest * UNITS[unit], stamp_ns * 1e-9
        if first_s >= -_LONGEST_S and last_s <= _LONGEST_S:
            return TimeConvention(field, unit, "stamp")
        if first_s - stamp_s >= -_LONGEST_S and last_s - stamp_s <= _LONGEST_S:
            return TimeConvention(field, unit, "clock")
        raise PointTimeError(
            f"field '{field}' has times of another clock: {first_s:.3f} to {last_s:.3f} s, the stamp is {stamp_s:.3f} "
            "s. Synchronise the LiDAR's clock, or say where in the sweep the stamp lies: start or end"
        )


def _unit(field: str, length: float, *, may_be_seconds: bool) -> Unit:
    for unit, seconds in UNITS.items():
        if _SHORTEST_S <= length * seconds <= _LONGEST_S and (may_be_seconds or unit != "s"):
            return unit  # type: ignore[return-value]  # the keys of UNITS
    reason = "all points have one time" if length == 0 else f"the times of a cloud span {length:g}"
    raise PointTimeError(
        f"field '{field}': {reason}, which is a sweep of {_SHORTEST_S} to {_LONGEST_S} s in no unit of "
        f"{', '.join(UNITS)}: check the driver, or set the unit"
    )


def _is_cut_off(lowest: float, highest: float) -> bool:
    return max(abs(lowest), abs(highest)) > _FLOAT32_DIGITS and highest - lowest < 1e-3 * abs(highest)


def _converted(raw: npt.NDArray[Any], convention: TimeConvention, cloud: PointColumns, stamp_ns: int) -> PointTimes:
    seconds_per_unit = UNITS[convention.unit]
    first, last = _extent(raw)
    # Points without a return have any time; they are looked for only where the times do not fit a sweep.
    if not (last - first) * seconds_per_unit <= _LONGEST_S:
        first, last = _extent(raw, _has_return(cloud))
    # Whole units, so that absolute times lose no digit: (stamp in units) is exact where the unit is a nanosecond.
    per_unit_ns = round(seconds_per_unit * 1e9)
    origin = {"stamp": 0.0, "clock": stamp_ns / per_unit_ns, "start": first, "end": last}[convention.origin]
    seconds = ((raw - np.float64(origin)) * seconds_per_unit).astype(np.float32)
    return PointTimes(seconds, (first - origin) * seconds_per_unit, (last - origin) * seconds_per_unit, convention)


def _extent(values: npt.NDArray[Any], chosen: npt.NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """Smallest and largest value of those chosen; zeros if there is none."""
    if chosen is not None:
        values = values[chosen & np.isfinite(values)]
    if not len(values):
        return 0.0, 0.0
    return float(values.min()), float(values.max())


def _has_return(cloud: PointColumns) -> npt.NDArray[np.bool_]:
    x, y, z = (cloud[name] for name in "xyz")
    has: npt.NDArray[np.bool_] = np.isfinite(x) & np.isfinite(y) & np.isfinite(z) & ((x != 0) | (y != 0) | (z != 0))
    return has
