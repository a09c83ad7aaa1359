"""Random changes of a scene: points and boxes together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import wrap_angle
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a scene: CenterPoint's (Yin et al., CVPR 2021, section 5), and points left out.

    Attributes:
        flip_left_right: probability of mirroring at the x axis.
        flip_front_back: probability of mirroring at the y axis.
        max_rotation_rad: largest rotation of the scene about z, either way, radians.
        max_scaling: largest relative change of sizes and distances, either way.
        max_drop: largest share of the points that is left out, as if the sensor saw less.
    """

    flip_left_right: float = 0.5
    flip_front_back: float = 0.5
    max_rotation_rad: float = float(np.pi / 8)
    max_scaling: float = 0.05
    max_drop: float = 0.1

    def __post_init__(self) -> None:
        check_ranges(
            "AugmentConfig",
            flip_left_right=(self.flip_left_right, 0, 1),
            flip_front_back=(self.flip_front_back, 0, 1),
            max_rotation_rad=(self.max_rotation_rad, 0, np.pi),
            max_scaling=(self.max_scaling, 0, 0.9),
            max_drop=(self.max_drop, 0, 1),
        )


NO_AUGMENTATION = AugmentConfig(0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Change:
    """How a scene is changed: mirrored, rotated about z and scaled.

    Attributes:
        linear: (2, 2) float64 matrix that x and y are multiplied by.
        scale: factor of heights and sizes.
    """

    linear: npt.NDArray[np.float64]
    scale: float

    @staticmethod
    def drawn(config: AugmentConfig, rng: np.random.Generator) -> Change:
        """A random change within the limits; the number of draws is always the same."""
        flip_y, flip_x = rng.random(2) < (config.flip_left_right, config.flip_front_back)
        angle = rng.uniform(-1, 1) * config.max_rotation_rad
        scale = 1 + rng.uniform(-1, 1) * config.max_scaling
        mirror = np.array([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return Change(rotation * mirror * scale, float(scale))

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """(3, 3) float64 matrix that points are multiplied by."""
        matrix = np.diag([0.0, 0.0, self.scale])
        matrix[:2, :2] = self.linear
        return matrix

    def apply(self, points: npt.NDArray[np.float32]) -> None:
        """Changes points (N, C) float32 in place, x y z first, metres."""
        points[:, :2] = points[:, :2] @ self.linear.astype(np.float32).T
        points[:, 2] *= np.float32(self.scale)

    def of_boxes(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(M, 9) float32 box columns, metres and radians, changed; the argument stays as it is."""
        linear = self.linear.astype(np.float32)
        values = values.copy()
        values[:, 0:2] = values[:, 0:2] @ linear.T
        values[:, 2:6] *= np.float32(self.scale)
        values[:, 7:9] = values[:, 7:9] @ linear.T
        heading = np.stack([np.cos(values[:, 6]), np.sin(values[:, 6])], axis=1) @ linear.T
        values[:, 6] = wrap_angle(np.arctan2(heading[:, 1], heading[:, 0]))
        return values


class ChangedScene(NamedTuple):
    """A changed scene.

    Attributes:
        points: (N', C) float32, metres.
        values: (M, 9) float32 box columns, metres and radians.
        change: how both were changed.
    """

    points: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    change: Change


def augment(
    points: npt.NDArray[np.float32], values: npt.NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The points (N', C) and box values (M, 9) of ``changed_scene``, with its arguments."""
    scene = changed_scene(points, values, config, rng)
    return scene.points, scene.values


def changed_scene(
    points: npt.NDArray[np.float32], values: npt.NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator
) -> ChangedScene:
    """One random change of a scene: a point inside a box stays inside it.

    Args:
        points: (N, C) float32, x y z first, metres.
        values: (M, 9) float32 box columns, metres and radians, in the points' frame.
        config: limits of the changes.
        rng: source of all randomness; the number of draws is always the same.

    Returns:
        The new points and box values; the arguments stay as they are.
    """
    change = Change.drawn(config, rng)
    kept_share = 1 - rng.random() * config.max_drop
    points = points[rng.random(len(points), dtype=np.float32) < kept_share]  # a new array, changed in place below
    change.apply(points)
    return ChangedScene(points, change.of_boxes(values), change)
