"""Ground removal: by straight lines, or by Patchwork++ (Lee, Lim and Myung, IROS 2022) as a library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.points.ground_height import GroundHeight, sensor_height_m
from lidarloop_training.ranges import check_ranges
from lidarloop_training.tasks.pretext.units.ground_lines import LineLimits, PolarGrid, heights_above_lines


@dataclass(frozen=True)
class GroundConfig:
    """How the ground is found. Symbols are those of Himmelsbach et al.

    Attributes:
        method: ``lines``, the fit of lines, or ``patchwork``, the library pypatchworkpp.
        num_segments: number of directions, each of which has lines of its own.
        bin_m: length of the innermost bins of a direction, metres. Each bin gives its lowest point.
        bin_growth: growth of the bins' length with range, a share: points lie farther apart there.
        max_slope: steepest line (T_m), metres of height a metre.
        max_rmse_m: largest root mean square error of a line (T_RMSE), metres.
        max_step_m: largest height between a line's first point and the line before it, extended (T_d,prev), metres.
            For the first line, the line before is level and at the height of the ground below the sensor.
        max_height_m: points higher above their line than this are no ground (T_d,ground), metres.
    """

    method: Literal["lines", "patchwork"] = "lines"
    num_segments: int = 180
    bin_m: float = 0.4
    bin_growth: float = 0.03
    max_slope: float = 0.1
    max_rmse_m: float = 0.06
    max_step_m: float = 0.15
    max_height_m: float = 0.15

    def __post_init__(self) -> None:
        check_ranges(
            "GroundConfig",
            num_segments=(self.num_segments, 4, 10_000),
            bin_m=(self.bin_m, 0.01, 10),
            bin_growth=(self.bin_growth, 0, 1),
            max_slope=(self.max_slope, 0, 10),
            max_rmse_m=(self.max_rmse_m, 0, 10),
            max_step_m=(self.max_step_m, 0, 10),
            max_height_m=(self.max_height_m, 0, 10),
        )


def find_ground(points: npt.NDArray[np.float32], config: GroundConfig) -> npt.NDArray[np.bool_]:
    """Which points belong to the ground.

    Args:
        points: (N, ≥3) float32, x y z first, metres, in a frame with a vertical z axis, to a few degrees, and its
            origin near the sensor. Points that are not finite are no ground.
        config: settings.

    Returns:
        (N,) bool.

    Raises:
        ConfigError: ``patchwork`` is chosen and pypatchworkpp is not installed.
    """
    finite = np.isfinite(points[:, :3]).all(axis=1)
    is_ground = np.zeros(len(points), np.bool_)
    if finite.any():
        xyz = np.ascontiguousarray(points[finite, :3], np.float32)
        by_method = _by_patchwork if config.method == "patchwork" else _by_lines
        is_ground[finite] = by_method(xyz, _ground_below(xyz), config)
    return is_ground


def _ground_below(xyz: npt.NDArray[np.float32]) -> float:
    """Height of the ground below the origin, metres."""
    height_m = sensor_height_m(xyz)
    return float(GroundHeight(xyz).at(np.zeros((1, 2)))[0]) if height_m is None else -height_m


def _by_lines(xyz: npt.NDArray[np.float32], below_m: float, config: GroundConfig) -> npt.NDArray[np.bool_]:
    """(N,) bool. Points below a line are ground too: reflections lie there."""
    limits = LineLimits(config.max_slope, config.max_rmse_m, config.max_step_m)
    polar = PolarGrid(config.num_segments, config.bin_m, config.bin_growth)
    is_ground: npt.NDArray[np.bool_] = heights_above_lines(xyz, below_m, polar, limits) <= config.max_height_m
    return is_ground


def _by_patchwork(xyz: npt.NDArray[np.float32], below_m: float, config: GroundConfig) -> npt.NDArray[np.bool_]:
    """The same by Patchwork++ with its own settings."""
    try:
        import pypatchworkpp
    except ImportError as error:
        raise ConfigError(
            f"GroundConfig received method patchwork, but pypatchworkpp cannot be imported ({error}); expected it "
            "installed: pip install 'lidarloop[patchwork]', or choose lines"
        ) from None
    parameters = pypatchworkpp.Parameters()
    parameters.sensor_height = -below_m
    parameters.enable_RNR = False  # it needs intensities, and the sensor's own scale of them
    patchwork: Any = pypatchworkpp.patchworkpp(parameters)
    patchwork.estimateGround(np.asfortranarray(xyz, np.float64))
    is_ground = np.zeros(len(xyz), np.bool_)
    is_ground[np.asarray(patchwork.getGroundIndices(), np.int64)] = True
    return is_ground
