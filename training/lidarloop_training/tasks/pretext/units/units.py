"""Contrastive units of one cloud: instance-aware groups of points (Cai et al., section II-B).

Ground removal → farthest point sampling in the bird's eye view → context of each seed → clusters → seeds in one cluster
become one unit. The projection heads and the choice of negatives come after, where features are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.points.own_vehicle import off_own_vehicle
from lidarloop_training.ranges import check_ranges
from lidarloop_training.tasks.pretext.units.clusters import ClusterConfig, find_clusters
from lidarloop_training.tasks.pretext.units.context import nearest_points, points_of_pillars
from lidarloop_training.tasks.pretext.units.ground import GroundConfig, find_ground
from lidarloop_training.tasks.pretext.units.sampling import farthest_points
from lidarloop_training.tasks.pretext.units.sightings import Sightings


@dataclass(frozen=True)
class UnitConfig:
    """How units are found. The paper gives no numbers.

    Attributes:
        num_seeds: number of points sampled for initial units.
        sampling: ``farthest`` point sampling in the bird's eye view, or ``random``, for ablations.
        context: points that join a seed: its ``neighbours``, the nearest ones, or all in the ``pillar`` around it.
        num_neighbours: number of the nearest points in a seed's context, itself included.
        pillar_m: side of a seed's pillar, metres.
        max_range_m: points farther than this in the ground plane, metres, belong to no unit.
        ground: how the ground is found.
        clusters: how instances are found; None leaves initial units as they are, for ablations.
    """

    num_seeds: int = 512
    sampling: Literal["farthest", "random"] = "farthest"
    context: Literal["neighbours", "pillar"] = "neighbours"
    num_neighbours: int = 16
    pillar_m: float = 0.5
    max_range_m: float = 50.0
    ground: GroundConfig = field(default_factory=GroundConfig)
    clusters: ClusterConfig | None = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        check_ranges(
            "UnitConfig",
            num_seeds=(self.num_seeds, 2, float("inf")),
            num_neighbours=(self.num_neighbours, 1, float("inf")),
            pillar_m=(self.pillar_m, 0.01, 100),
            max_range_m=(self.max_range_m, 1, float("inf")),
        )


@dataclass(frozen=True)
class Units:
    """Groups of points of one cloud; a point belongs to one unit at most.

    Attributes:
        unit_of_point: (N,) int32, unit of each point, -1 for none. All points of units are seen by some camera.
        is_instance: (U,) bool, units that are clusters; they come first. The others are seeds with their context.
    """

    unit_of_point: npt.NDArray[np.int32]
    is_instance: npt.NDArray[np.bool_]

    @property
    def num_units(self) -> int:
        """U; each has a point at least."""
        return len(self.is_instance)


def find_units(
    points: npt.NDArray[np.float32], sightings: Sightings, config: UnitConfig, rng: np.random.Generator
) -> Units:
    """The units of a cloud.

    Args:
        points: (N, ≥3) float32, x y z first, metres, in a frame with a vertical z axis, to a few degrees, and its
            origin near the sensor; before augmentation.
        sightings: where the cameras see these points.
        config: settings.
        rng: decides the first seed, or all of them for random sampling.
    """
    xyz = np.ascontiguousarray(points[:, :3])
    standing = np.flatnonzero(_is_near(xyz, config.max_range_m) & ~find_ground(xyz, config.ground))
    if config.clusters is None:
        cluster = np.full(len(standing), -1, np.int32)
    else:
        cluster = find_clusters(xyz[standing], config.clusters)
    seen = sightings.is_seen[standing]
    index, cluster = standing[seen], cluster[seen]
    seeds = _seeds(xyz[index], config, rng)
    context = _context(xyz[index], seeds, config)
    units = merge_seeds(context, seeds, cluster)
    unit_of_point = np.full(len(points), -1, np.int32)
    unit_of_point[index] = units.unit_of_point
    return Units(unit_of_point, units.is_instance)


def merge_seeds(context: npt.NDArray[np.int32], seeds: npt.NDArray[np.int64], cluster: npt.NDArray[np.int32]) -> Units:
    """Seeds that fall into one cluster become one unit, which grows to all points of the cluster.

    A seed in no cluster keeps its context, without points of clusters that are units. A cluster without a seed is no
    unit.

    Args:
        context: (M,) int32, seed whose context a point belongs to, -1 for none; seeds belong to their own.
        seeds: (K,) int64, indices of the seeds among the points.
        cluster: (M,) int32, cluster of each point, -1 for none.

    Returns:
        The units of the M points: clusters in their order, then the remaining seeds in theirs.
    """
    cluster_of_seed = cluster[seeds]
    instances = np.unique(cluster_of_seed[cluster_of_seed >= 0])
    lone = cluster_of_seed < 0
    num_units = len(instances) + int(lone.sum())
    unit_of_cluster = np.full(max(int(cluster.max(initial=-1)), 0) + 2, -1, np.int32)  # the last for -1
    unit_of_cluster[instances] = np.arange(len(instances))
    unit_of_seed = np.full(len(seeds) + 1, -1, np.int32)
    unit_of_seed[:-1][lone] = np.arange(len(instances), num_units)
    in_instance = unit_of_cluster[cluster]
    return Units(np.where(in_instance >= 0, in_instance, unit_of_seed[context]), np.arange(num_units) < len(instances))


def _is_near(xyz: npt.NDArray[np.float32], max_range_m: float) -> npt.NDArray[np.bool_]:
    """(N,) bool, points in range that are not on the vehicle itself."""
    return off_own_vehicle(xyz) & (np.hypot(xyz[:, 0], xyz[:, 1]) <= max_range_m)


def _seeds(xyz: npt.NDArray[np.float32], config: UnitConfig, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(K,) indices of the initial units' points; fewer than configured where there are fewer places."""
    if not len(xyz):
        return np.zeros(0, np.int64)
    if config.sampling == "random":
        return rng.permutation(len(xyz))[: config.num_seeds]
    return farthest_points(xyz[:, :2], config.num_seeds, first=int(rng.integers(len(xyz))))


def _context(xyz: npt.NDArray[np.float32], seeds: npt.NDArray[np.int64], config: UnitConfig) -> npt.NDArray[np.int32]:
    if config.context == "pillar":
        return points_of_pillars(xyz, seeds, config.pillar_m)
    return nearest_points(xyz, seeds, config.num_neighbours)
