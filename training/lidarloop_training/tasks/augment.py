"""Random changes of a scene: points and boxes together."""

from __future__ import annotations

from dataclasses import dataclass

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
class SceneChange:
    """One random change of a scene.

    Attributes:
        linear: (2, 2) float32 matrix that takes x and y of the scene to those of the changed one.
        scale: relative change of sizes and of z.
        kept_share: share of the points that is kept, in [0, 1].
    """

    linear: npt.NDArray[np.float32]
    scale: float
    kept_share: float

    @staticmethod
    def draw(config: AugmentConfig, rng: np.random.Generator) -> SceneChange:
        """A change within the limits; the number of draws is always the same."""
        flip_y, flip_x = rng.random(2) < (config.flip_left_right, config.flip_front_back)
        angle = rng.uniform(-1, 1) * config.max_rotation_rad
        scale = 1 + rng.uniform(-1, 1) * config.max_scaling
        kept_share = 1 - rng.random() * config.max_drop
        mirror = np.array([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return SceneChange((rotation * mirror * scale).astype(np.float32), scale, kept_share)

    def of_points(self, points: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """The kept ones of (N, C) points, x y z first, metres, moved: a new (N', C) array."""
        points = points[rng.random(len(points), dtype=np.float32) < self.kept_share]  # a new array, changed in place
        points[:, :2] = points[:, :2] @ self.linear.T
        points[:, 2] *= np.float32(self.scale)
        return points

    def of_boxes(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(M, 9) box columns, metres and radians, moved: a new array. What is NaN stays NaN."""
        values = values.copy()
        values[:, 0:2] = values[:, 0:2] @ self.linear.T
        values[:, 2:6] *= np.float32(self.scale)
        values[:, 7:9] = values[:, 7:9] @ self.linear.T
        heading = np.stack([np.cos(values[:, 6]), np.sin(values[:, 6])], axis=1) @ self.linear.T
        values[:, 6] = wrap_angle(np.arctan2(heading[:, 1], heading[:, 0]))
        return values

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """(3, 3) float64 matrix that takes points of the scene to those of the changed one."""
        matrix = np.diag([0.0, 0.0, self.scale])
        matrix[:2, :2] = self.linear
        return matrix

    def undone(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(N, 2) places of the changed scene, metres, as they were before: (N, 2)."""
        before: npt.NDArray[np.float64] = np.linalg.solve(self.linear.astype(np.float64), xy.T).T
        return before


def augment(
    points: npt.NDArray[np.float32], values: npt.NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """One random change of a scene: a point inside a box stays inside it.

    Args:
        points: (N, C) float32, x y z first, metres.
        values: (M, 9) float32 box columns, metres and radians, in the points' frame.
        config: limits of the changes.
        rng: source of all randomness; the number of draws is always the same.

    Returns:
        The new points (N', C) and box values (M, 9); the arguments stay as they are.
    """
    change = SceneChange.draw(config, rng)
    return change.of_points(points, rng), change.of_boxes(values)
