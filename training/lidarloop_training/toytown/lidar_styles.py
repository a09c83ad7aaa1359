"""What kinds of LiDAR there are: where beams go and when, how far they reach, and how bright an echo is reported.

Beams and ranges are those of the data sheets; mountings those of the vehicles that a sensor is known from. Ring 0 is
the lowest beam. ``HDL32E`` is the sensor of nuScenes and the town's own; the drives of the others carry their names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3

FloatArray = npt.NDArray[np.float64]
Window = tuple[npt.NDArray[np.int64], slice]
"""Columns and rings of the beams that can meet an object."""

LidarName = Literal["hdl32e", "hdl64e", "pandar64", "os1-128", "livox"]


class ScanPattern(Protocol):
    """Where the beams of a turn go: A columns, fired one after another, of B beams at once."""

    @property
    def shape(self) -> tuple[int, int]:
        """(A, B)."""
        ...

    def directions(self, turn: int) -> FloatArray:
        """(A, B, 3) unit vectors in the sensor's frame, of the turn of that number."""
        ...

    def firing_times(self, stamp_s: float, period_s: float) -> FloatArray:
        """(A,) seconds at which the columns of the turn that ends at ``stamp_s`` are fired."""
        ...

    def column_facing(self, offset: FloatArray) -> int:
        """The column that points at a place, (3,) metres in the sensor's frame; the nearest there is."""
        ...

    def window(self, offset: FloatArray, radius_m: float, turn: int) -> Window:
        """The beams that can meet a ball round a place, (3,) metres in the sensor's frame."""
        ...


@dataclass(frozen=True)
class Spinning:
    """A head that turns clockwise seen from above, from straight behind over left, front and right.

    Attributes:
        elevations_deg: elevation of each beam, degrees, rising.
        num_azimuths: columns of a full turn.
        view_deg: angle about straight ahead in which there are columns, degrees; 360 by default.
    """

    elevations_deg: tuple[float, ...]
    num_azimuths: int
    view_deg: float = 360.0

    @cached_property
    def elevations_rad(self) -> FloatArray:
        """(B,) radians."""
        elevations: FloatArray = np.radians(np.array(self.elevations_deg))
        return elevations

    @cached_property
    def _columns(self) -> npt.NDArray[np.int64]:
        """(A,) numbers of the columns in view among those of a full turn."""
        azimuths = np.pi - 2 * np.pi * (np.arange(self.num_azimuths) + 0.5) / self.num_azimuths
        return np.flatnonzero(np.abs(azimuths) <= np.radians(self.view_deg) / 2)

    @cached_property
    def azimuths_rad(self) -> FloatArray:
        """(A,) radians, falling."""
        return np.pi - 2 * np.pi * (self._columns + 0.5) / self.num_azimuths

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._columns), len(self.elevations_deg)

    @cached_property
    def _directions(self) -> FloatArray:
        azimuths, elevations = self.azimuths_rad[:, None], self.elevations_rad
        flat = np.cos(elevations)
        up = np.ones((len(azimuths), 1)) * np.sin(elevations)
        return np.stack([np.cos(azimuths) * flat, np.sin(azimuths) * flat, up], axis=-1)

    def directions(self, turn: int) -> FloatArray:
        """(A, B, 3) unit vectors, the same in every turn."""
        return self._directions

    def firing_times(self, stamp_s: float, period_s: float) -> FloatArray:
        """(A,) seconds; a full turn's last column is fired at the stamp."""
        return stamp_s - period_s + period_s * (self._columns + 1) / self.num_azimuths

    def column_facing(self, offset: FloatArray) -> int:
        """The column whose azimuth is that of a place, (3,) metres; the nearest in view."""
        column = int(self._turned(offset)) % self.num_azimuths
        return int(np.clip(column - self._columns[0], 0, len(self._columns) - 1))

    def window(self, offset: FloatArray, radius_m: float, turn: int) -> Window:
        """Columns and rings in which a ball round a place, (3,) metres, can be met."""
        flat, distance = float(np.hypot(offset[0], offset[1])), float(np.linalg.norm(offset))
        if flat <= radius_m + 0.5:
            return np.arange(len(self._columns)), slice(0, len(self.elevations_deg))
        centre = self._turned(offset)
        half_columns = np.arcsin(radius_m / flat) / (2 * np.pi) * self.num_azimuths
        columns = np.arange(int(centre - half_columns) - 1, int(centre + half_columns) + 2) % self.num_azimuths
        columns = columns - self._columns[0]
        elevation, half = np.arcsin(offset[2] / distance), np.arcsin(radius_m / distance)
        first, last = np.searchsorted(self.elevations_rad, (elevation - half, elevation + half))
        return columns[(columns >= 0) & (columns < len(self._columns))], slice(int(first), int(last))

    def _turned(self, offset: FloatArray) -> float:
        """Columns from straight behind to a place."""
        return float((np.pi - np.arctan2(offset[1], offset[0])) / (2 * np.pi) * self.num_azimuths)


@dataclass(frozen=True)
class Rosette:
    """A few beams, one above another, led over a field of view ahead by two prisms: no two turns are alike.

    Attributes:
        view_deg: angles that are covered, across and upright, degrees.
        num_columns: shots of each beam in a turn.
        num_beams: beams fired at once.
        sweeps_per_turn: back and forth across and upright in a turn; fractions let the next turn fill the gaps.
    """

    view_deg: tuple[float, float]
    num_columns: int
    num_beams: int
    sweeps_per_turn: tuple[float, float]

    _REACH_OF_MOTION_M = 4.0
    """How far sensor and object may come within half a turn, at up to 40 m/s each at 10 turns a second."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.num_columns, self.num_beams

    def directions(self, turn: int) -> FloatArray:
        """(A, B, 3) unit vectors; each beam swings in a stripe of its own, all together across."""
        turns = turn + np.arange(1, self.num_columns + 1) / self.num_columns
        across, upright = (np.radians(angle) / 2 for angle in self.view_deg)
        step = 2 * upright / self.num_beams
        lowest = -upright + step / 2
        azimuth = across * np.sin(2 * np.pi * self.sweeps_per_turn[0] * turns)[:, None]
        swing = step / 2 * np.sin(2 * np.pi * self.sweeps_per_turn[1] * turns)[:, None]
        elevation = lowest + step * np.arange(self.num_beams) + swing
        flat = np.cos(elevation)
        return np.stack([np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(elevation)], axis=-1)

    def firing_times(self, stamp_s: float, period_s: float) -> FloatArray:
        """(A,) seconds, evenly up to the stamp."""
        return stamp_s - period_s + period_s * np.arange(1, self.num_columns + 1) / self.num_columns

    def column_facing(self, offset: FloatArray) -> int:
        """The middle column: a place, (3,) metres, is faced many times in a turn."""
        return self.num_columns // 2

    def window(self, offset: FloatArray, radius_m: float, turn: int) -> Window:
        """Columns in which a beam passes a ball round a place, (3,) metres, with all their beams."""
        distance, reach = float(np.linalg.norm(offset)), radius_m + self._REACH_OF_MOTION_M
        rings = slice(0, self.num_beams)
        if distance <= reach:
            return np.arange(self.num_columns), rings
        near = self.directions(turn) @ (offset / distance) >= np.sqrt(1 - (reach / distance) ** 2)
        return np.flatnonzero(near.any(axis=1)), rings


@dataclass(frozen=True)
class IntensityLaw:
    """How bright an echo is reported.

    It is ``gain · reflectivity · (grazing + (1 - grazing) cos θ) · (1 + range / reach)^-falloff``.

    Attributes:
        gain: intensity of a white surface that is met squarely near by.
        grazing: share that is left at grazing incidence.
        falloff: exponent of the loss with range; 0 where the sensor evens it out.
        reach_m: range at which the loss sets in, metres.
        noise: standard deviation, as a share of the intensity.
    """

    gain: float = 255.0
    grazing: float = 0.35
    falloff: float = 0.0
    reach_m: float = 20.0
    noise: float = 0.08


@dataclass(frozen=True)
class LidarStyle:
    """A kind of LiDAR on a kind of vehicle.

    Attributes:
        name: what it is called in the names of drives.
        pattern: where the beams go, and when.
        place_m: origin in the ego frame, metres ahead of the rear axle and above the ground.
        max_range_m: range beyond which there is no echo, metres.
        min_range_m: range below which there is none, metres.
        range_noise_m: standard deviation of a range, metres.
        sensitivity: echo strength ``reflectivity · cos θ / range²``, times this, is how many times over it is noticed.
        stray_loss: share of echoes that are lost for no reason.
        intensity: how bright an echo is reported.
    """

    name: LidarName
    pattern: ScanPattern
    place_m: tuple[float, float]
    max_range_m: float = 80.0
    min_range_m: float = 1.0
    range_noise_m: float = 0.02
    sensitivity: float = 1.1e5
    stray_loss: float = 0.015
    intensity: IntensityLaw = field(default_factory=IntensityLaw)

    @cached_property
    def ego_SE3_lidar(self) -> SE3:
        ahead, up = self.place_m
        return SE3(np.eye(3), np.array([ahead, 0.0, up]))


def _evenly(low_deg: float, high_deg: float, number: int) -> tuple[float, ...]:
    return tuple(np.linspace(low_deg, high_deg, number).tolist())


HDL32E = LidarStyle("hdl32e", Spinning(_evenly(-30.67, 10.67, 32), 1084), (0.9, 1.84))
"""Velodyne HDL-32E as nuScenes has it."""

HDL64E = LidarStyle(
    "hdl64e",
    # Two blocks of lasers: the lower half a degree apart, the upper a third.
    Spinning((*_evenly(-24.33, -8.83, 32), *_evenly(-8.33, 2.0, 32)), 2083),
    (0.76, 1.73),
    max_range_m=120.0,
    min_range_m=2.0,
    sensitivity=2.5e5,
)
"""Velodyne HDL-64E as KITTI has it."""

PANDAR64 = LidarStyle(
    "pandar64",
    # A sixth of a degree apart from 6° below to 2° above, wider beyond.
    Spinning((-25.0, -19.0, *_evenly(-14.0, -7.0, 8), *_evenly(-6.0, 2.0, 49), 3.0, 5.0, 8.0, 11.0, 15.0), 1800),
    (0.8, 2.15),
    max_range_m=200.0,
    min_range_m=0.5,
    sensitivity=6.9e5,
)
"""Hesai Pandar64 as PandaSet has it."""

OS1_128 = LidarStyle(
    "os1-128",
    Spinning(_evenly(-22.5, 22.5, 128), 1024),
    (0.9, 1.9),
    max_range_m=120.0,
    min_range_m=0.5,
    range_noise_m=0.015,
    sensitivity=1.4e5,
    # Photons counted, not reflectivities.
    intensity=IntensityLaw(falloff=1.0),
)
"""Ouster OS1-128 on a roof, 1024 columns."""

LIVOX = LidarStyle(
    "livox",
    Rosette((81.7, 25.1), 4000, 6, (10.37, 83.71)),
    (1.2, 1.9),
    max_range_m=150.0,
    sensitivity=2.0e5,
)
"""A Livox of the Horizon's kind, which looks ahead."""

STYLES: dict[LidarName, LidarStyle] = {style.name: style for style in (HDL32E, HDL64E, PANDAR64, OS1_128, LIVOX)}
