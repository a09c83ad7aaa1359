"""Instances without labels: clusters of what stands on the ground.

Points are linked to all neighbours within a radius, which a k-d tree finds, and what hangs together is a cluster
(Klasing, Wollherr and Buss, ICRA 2008). Clusters of odd sizes are left out (Cai et al., section II-B). For speed, nodes
that stand for several points each are linked in place of the points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class ClusterConfig:
    """Which points hang together, and which clusters may be instances.

    Attributes:
        nodes: ``cells`` of space, or the ``pixels`` of the range image, as in the paper. Of a pixel only the nearest
            point and what is within its reach take part: what is behind a fence, or seen past an edge, is torn.
        pixel_deg: side of the range image's pixels, degrees.
        radius_m: points within this distance of each other are linked, metres.
        radius_share: growth of the radius, share of the range, since points spread with it.
        height_share: weight of distances in height: beams are farther apart than the points along them.
        min_points: lowest number of points in a cluster.
        min_height_m: lower clusters, metres from the lowest to the highest point, are left out.
        max_height_m: so are higher ones.
        max_length_m: so are longer ones: longer side of the smallest upright box, metres.
        max_aspect: so are clusters with a longer side of more than this times the other one.
        min_width_m: lowest width of which the aspect is computed, metres: often one flank alone is seen.
    """

    nodes: Literal["cells", "pixels"] = "cells"
    pixel_deg: float = 0.5
    radius_m: float = 0.4
    radius_share: float = 0.01
    height_share: float = 0.4
    min_points: int = 8
    min_height_m: float = 0.2
    max_height_m: float = 4.5
    max_length_m: float = 15.0
    max_aspect: float = 8.0
    min_width_m: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(
            "ClusterConfig",
            pixel_deg=(self.pixel_deg, 0.01, 10),
            radius_m=(self.radius_m, 0.01, 10),
            radius_share=(self.radius_share, 0, 1),
            height_share=(self.height_share, 0, 1),
            min_points=(self.min_points, 1, float("inf")),
            min_height_m=(self.min_height_m, 0, 100),
            max_height_m=(self.max_height_m, 0, 100),
            max_length_m=(self.max_length_m, 0, 1000),
            max_aspect=(self.max_aspect, 1, float("inf")),
            min_width_m=(self.min_width_m, 0.01, 100),
        )


class Nodes(NamedTuple):
    """Points gathered to fewer.

    Attributes:
        places: (P, 3) float32, metres.
        of_point: (M,) int64, node of each point, -1 for none.
    """

    places: npt.NDArray[np.float32]
    of_point: npt.NDArray[np.int64]


def find_clusters(xyz: npt.NDArray[np.float32], config: ClusterConfig) -> npt.NDArray[np.int32]:
    """The clusters of a cloud without its ground.

    Args:
        xyz: (M, 3) float32, finite, metres, origin near the sensor.
        config: settings.

    Returns:
        (M,) int32, cluster of each point, counted from 0; -1 for none.
    """
    nodes = nodes_of_pixels(xyz, config) if config.nodes == "pixels" else nodes_of_cells(xyz, config)
    cluster_of_node = np.append(linked(nodes.places, config), np.int32(-1))  # the last for points without a node
    return plausible_clusters(xyz, cluster_of_node[nodes.of_point], config)


def nodes_of_cells(xyz: npt.NDArray[np.float32], config: ClusterConfig) -> Nodes:
    """The means of the points in each cell of space; a cell's side is half the radius, upwards as heights weigh less.

    Args:
        xyz: (M, 3) float32, finite, metres.
        config: settings.
    """
    cell = np.floor(_weighted(xyz, config) / (config.radius_m / 2)).astype(np.int64)
    cell -= cell.min(axis=0, initial=0)
    num_x, num_y, _ = cell.max(axis=0, initial=0) + 1
    numbers, of_point = np.unique((cell[:, 2] * num_y + cell[:, 1]) * num_x + cell[:, 0], return_inverse=True)
    sums = [np.bincount(of_point, xyz[:, axis], len(numbers)) for axis in range(3)]
    count = np.bincount(of_point, minlength=len(numbers))
    return Nodes((np.stack(sums, axis=1) / count[:, None]).astype(np.float32), of_point)


def nodes_of_pixels(xyz: npt.NDArray[np.float32], config: ClusterConfig) -> Nodes:
    """The nearest point in each pixel of the range image, which has equal steps of azimuth and elevation.

    Args:
        xyz: (M, 3) float32, finite, metres, as seen from the origin.
        config: settings. Points out of reach of their pixel's nearest point belong to no node.
    """
    pixel_rad = math.radians(config.pixel_deg)
    flat_m = np.hypot(xyz[:, 0], xyz[:, 1])
    column = np.floor(np.arctan2(xyz[:, 1], xyz[:, 0]) / pixel_rad).astype(np.int64)
    row = np.floor(np.arctan2(xyz[:, 2], flat_m) / pixel_rad).astype(np.int64)
    pixel = row * (math.ceil(2 * math.pi / pixel_rad) + 1) + column
    order = np.lexsort((np.hypot(flat_m, xyz[:, 2]), pixel))
    is_nearest = np.diff(pixel[order], prepend=np.iinfo(np.int64).min) != 0
    nearest = order[is_nearest]
    of_point = np.empty(len(xyz), np.int64)
    of_point[order] = np.cumsum(is_nearest) - 1
    behind_m = np.linalg.norm(_weighted(xyz - xyz[nearest[of_point]], config), axis=1)
    return Nodes(xyz[nearest], np.where(behind_m <= reach_m(xyz, config), of_point, -1))


def linked(xyz: npt.NDArray[np.float32], config: ClusterConfig) -> npt.NDArray[np.int32]:
    """Single linkage: two points are linked where one lies within the other's reach.

    Args:
        xyz: (P, 3) float32, metres.
        config: settings.

    Returns:
        (P,) int32, number of the connected component of each point.
    """
    if not len(xyz):
        return np.zeros(0, np.int32)
    weighted, reach = _weighted(xyz, config), reach_m(xyz, config)
    pairs = cKDTree(weighted, balanced_tree=False).query_pairs(float(reach.max()), output_type="ndarray")
    distance_m = np.linalg.norm(weighted[pairs[:, 0]] - weighted[pairs[:, 1]], axis=1)
    pairs = pairs[distance_m <= reach[pairs].max(axis=1)]
    graph = coo_matrix((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(len(xyz), len(xyz)))
    component: npt.NDArray[np.int32] = connected_components(graph, directed=False)[1].astype(np.int32)
    return component


def reach_m(xyz: npt.NDArray[np.float32], config: ClusterConfig) -> npt.NDArray[np.float32]:
    """(P,) distance within which each of (P, 3) points is linked to others, metres."""
    ranges_m: npt.NDArray[np.float32] = np.linalg.norm(xyz, axis=1)
    return np.float32(config.radius_m) + np.float32(config.radius_share) * ranges_m


def _weighted(xyz: npt.NDArray[np.float32], config: ClusterConfig) -> npt.NDArray[np.float32]:
    """(P, 3) with heights that weigh less."""
    return xyz * np.array([1, 1, config.height_share], np.float32)


def plausible_clusters(
    xyz: npt.NDArray[np.float32], cluster: npt.NDArray[np.int32], config: ClusterConfig
) -> npt.NDArray[np.int32]:
    """The clusters that pass the filters of number, size and aspect.

    Args:
        xyz: (M, 3) float32, metres.
        cluster: (M,) int32, cluster of each point, -1 for none.
        config: settings.

    Returns:
        (M,) int32, clusters counted anew from 0, -1 for none.
    """
    inside = np.flatnonzero(cluster >= 0)
    if not len(inside):
        return cluster
    order = inside[np.argsort(cluster[inside], kind="stable")]
    starts = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    num_points = np.diff(starts, append=len(order))
    length_m, width_m, height_m = extents(xyz[order], starts).T
    kept = (num_points >= config.min_points) & (length_m <= config.max_length_m)
    kept &= (height_m >= config.min_height_m) & (height_m <= config.max_height_m)
    kept &= length_m <= config.max_aspect * np.maximum(width_m, config.min_width_m)
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    renumbered = np.full(len(xyz), -1, np.int32)
    renumbered[order] = np.repeat(number, num_points)
    return renumbered


def extents(xyz: npt.NDArray[np.float32], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Sizes of the smallest upright boxes around groups of points, to 5° of heading.

    Args:
        xyz: (M, 3) float32, metres, group after group.
        starts: (G,) int64, index of each group's first point.

    Returns:
        (G, 3) float32, length, width and height, metres; length ≥ width.
    """
    turns = np.deg2rad(np.arange(0, 90, 5))
    along = xyz[:, :1] * np.cos(turns).astype(np.float32) + xyz[:, 1:2] * np.sin(turns).astype(np.float32)
    across = xyz[:, 1:2] * np.cos(turns).astype(np.float32) - xyz[:, :1] * np.sin(turns).astype(np.float32)
    sides = np.stack([_spread(along, starts), _spread(across, starts)], axis=-1)  # (G, turns, 2)
    smallest = sides.prod(axis=-1).argmin(axis=1)
    flat = sides[np.arange(len(starts)), smallest]
    return np.column_stack([flat.max(axis=1), flat.min(axis=1), _spread(xyz[:, 2:], starts)])


def _spread(values: npt.NDArray[np.float32], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    spread: npt.NDArray[np.float32] = np.maximum.reduceat(values, starts) - np.minimum.reduceat(values, starts)
    return spread
