"""Which fields of a PointCloud2 are the columns of a sweep, and what their units are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.pointcloud.decode import decode_cloud, field_of, read_points
from lidarloop_core.pointcloud.point_time import TIME_FIELDS

_OPTIONAL = ("intensity", "ring", "dt", "label", "instance")
_TIMES = frozenset({*TIME_FIELDS, "times"})
_NUM_NAMED = 12

# A sweep lasts 0.05–2 s, so that the ranges of the units do not touch. (largest value, unit, seconds)
_UNITS = ((5.0, "s", 1.0), (5e3, "ms", 1e-3), (5e6, "µs", 1e-6), (np.inf, "ns", 1e-9))


@dataclass(frozen=True)
class CloudFields:
    """The fields of one topic's clouds that are read.

    Attributes:
        columns: names of the columns: x y z and those of intensity, ring, dt, label, instance that there are.
        fields: the message's field for each.
        dt_unit_s: unit of the field ``dt``, seconds.
        unused: the message's other fields.
    """

    columns: tuple[str, ...]
    fields: tuple[str, ...]
    dt_unit_s: float
    unused: tuple[str, ...] = ()

    @staticmethod
    def of(cloud: Any) -> CloudFields:
        """By the names in a PointCloud2, and by the size of its times.

        Raises:
            CloudFormatError: the cloud's layout contradicts itself.
        """
        decoded = decode_cloud(cloud)
        found = {"x": "x", "y": "y", "z": "z"}
        for column in _OPTIONAL:
            field = field_of(column, decoded.names)
            if field in decoded.names:
                found[column] = field
        unit_s = _unit(decoded["dt"])[1] if "dt" in found else 1.0
        unused = [name for name in decoded.names if name not in found.values()]
        return CloudFields(tuple(found), tuple(found.values()), unit_s, tuple(unused))

    def only(self, columns: Sequence[str]) -> CloudFields:
        """Without the columns that are not among these."""
        kept = [(c, f) for c, f in zip(self.columns, self.fields, strict=True) if c in columns]
        return CloudFields(tuple(c for c, _ in kept), tuple(f for _, f in kept), self.dt_unit_s)

    def read(self, cloud: Any) -> npt.NDArray[np.float32]:
        """(N, C) float32 points of a PointCloud2, ``dt`` in seconds.

        Raises:
            CloudFormatError: a field is missing, or the layout contradicts itself.
        """
        points = read_points(cloud, self.fields).points
        if self.dt_unit_s != 1.0:
            points[:, self.columns.index("dt")] *= np.float32(self.dt_unit_s)
        return points

    def remarks(self) -> list[str]:
        """What was read as something else than it is named, and what is not read."""
        said = [f"{f} is read as {c}" for c, f in zip(self.columns, self.fields, strict=True) if f != c]
        if self.dt_unit_s != 1.0:
            units = {seconds: unit for _, unit, seconds in _UNITS}
            said.append(f"dt is read as {units[self.dt_unit_s]}")
        times = [name for name in self.unused if name in _TIMES and "dt" not in self.columns]
        others = [name for name in self.unused if name not in times]
        if times:
            said.append(
                f"{_listed(times)} is left out: if the driver did not deskew the clouds, read them with --deskew"
            )
        if others:
            said.append(f"{_listed(others)} is left out: no step uses it")
        return said


def _listed(names: Sequence[str]) -> str:
    """The first names and the number of the others, each cut: they come from outside."""
    shown = ", ".join(name[:40] for name in names[:_NUM_NAMED])
    return shown if len(names) <= _NUM_NAMED else f"{shown} and {len(names) - _NUM_NAMED} more"


def _unit(times: npt.NDArray[Any]) -> tuple[str, float]:
    values = np.abs(times.astype(np.float64).reshape(-1))
    largest = float(values[np.isfinite(values)].max(initial=0.0))
    return next((unit, seconds) for limit, unit, seconds in _UNITS if largest <= limit)
