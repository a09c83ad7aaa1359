"""Labels from the cloud alone: what stands up from the ground, in clusters, named by its size.

The LiDAR-only rival of the paper's table. Without images there is no class: walls, bushes and poles of the
right size become labels too, and what touches is one thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.labelling.lifting.quality import quality_of
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.placing.box_fit import fit_box
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.points.accumulate import accumulate
from lidarloop_core.labelling.points.ground_height import GroundHeight
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.sample import Sample

FloatArray = npt.NDArray[np.float64]

_SELDOM_SO_LARGE = 1.15
"""Times its class's usual size."""


@dataclass(frozen=True)
class ClusterConfig:
    """How clusters are found and judged.

    Attributes:
        clearance_m: points lower than this over the ground are ground.
        ceiling_m: points higher than this over the ground are out of the way.
        cell_m: side of the ground-plane cells; points in touching cells are one cluster.
        min_points: lowest number of points in a cluster.
        max_underside_m: a cluster that begins higher than this hangs: a branch, a sign.
        max_range_m: farther clusters are left out.
        max_misfit: largest misfit of the sizes; see ``misfits``.
    """

    clearance_m: float = 0.25
    ceiling_m: float = 4.5
    cell_m: float = 0.3
    min_points: int = 8
    max_underside_m: float = 0.8
    max_range_m: float = 50.0
    max_misfit: float = 1.0


class Cluster(NamedTuple):
    """The points of one thing, (N, 3), and how high it reaches above the ground."""

    points: npt.NDArray[np.float32]
    height_m: float


class ClusterLifter:
    """A lifter that looks at no picture.

    Args:
        priors: the classes and their usual sizes.
        lifting: number of sweeps, and how wide the vehicle itself is.
        config: see there.
    """

    name = "none: clusters of the cloud, named by size"

    def __init__(self, priors: ShapePriors, lifting: LiftingConfig, config: ClusterConfig | None = None) -> None:
        self.class_names = tuple(priors.sizes)
        self._sizes = priors.of(self.class_names)
        self._largest = priors.largest(self.class_names)
        self._lifting = lifting
        self._config = config or ClusterConfig()

    def __call__(self, sample: Sample, lanes: LaneLookup | None) -> tuple[PseudoLabels, LeftOut]:
        """Labels a sample; a map is of no use to it."""
        left_out = LeftOut()
        cloud = accumulate(sample.sweeps, self._lifting.num_sweeps, self._lifting.ego_half_width_m, left_out)
        rows = []
        for cluster in clusters(cloud.points, self._config):
            row = self._label(cluster)
            if row is None:
                left_out.masks["cluster of no known size"] += 1
            else:
                rows.append(row)
        return self._labels(rows), left_out

    def _label(self, cluster: Cluster) -> tuple[FloatArray, float, int, int] | None:
        """Box, score, label and number of points of a cluster; None where it has the size of nothing known."""
        misfit = misfits(np.array([*extents(cluster.points), cluster.height_m]), self._sizes)
        label = int(misfit.argmin())
        if misfit[label] > self._config.max_misfit:
            return None
        box = fit_box(cluster.points, self._sizes[label], np.zeros(2), largest_lwh=self._largest[label])
        yaw = 0.0 if np.isnan(box.yaw) else box.yaw
        values = np.array([*box.center, *box.size, yaw, 0.0, 0.0])
        return values, float(np.exp(-misfit[label])), label, len(cluster.points)

    def _labels(self, rows: list[tuple[FloatArray, float, int, int]]) -> PseudoLabels:
        if not rows:
            return PseudoLabels.empty(self.class_names)
        values, scores, labels, num_points = (np.array(column) for column in zip(*rows, strict=True))
        none = np.zeros(len(rows))
        return PseudoLabels(
            Boxes3D(values, scores, labels, self.class_names),
            quality_of(scores, num_points, none, np.ones(len(rows))),
            num_points,
            ((),) * len(rows),
            ("box_fit",) * len(rows),
        )


def clusters(points: npt.NDArray[np.float32], config: ClusterConfig) -> list[Cluster]:
    """Each thing that stands on the ground.

    Args:
        points: (N, 3) metres in an upright frame, the sensor near its origin.
        config: see there.
    """
    height = points[:, 2] - GroundHeight(points).at(points)
    near = np.hypot(points[:, 0], points[:, 1]) < config.max_range_m
    standing = near & (height > config.clearance_m) & (height < config.ceiling_m)
    points, height = points[standing], height[standing]
    cell = np.floor((points[:, :2] + config.max_range_m) / config.cell_m).astype(np.int64)
    num_cells = int(np.ceil(2 * config.max_range_m / config.cell_m))
    occupied = np.zeros((num_cells, num_cells), np.bool_)
    occupied[cell[:, 0], cell[:, 1]] = True
    numbered, _ = ndimage.label(occupied, structure=np.ones((3, 3)))
    which = numbered[cell[:, 0], cell[:, 1]]
    order = np.argsort(which, kind="stable")
    ends = np.flatnonzero(np.diff(which[order], append=-1)) + 1
    groups = np.split(order, ends[:-1]) if len(order) else []
    return [
        Cluster(points[group], float(height[group].max()))
        for group in groups
        if len(group) >= config.min_points and height[group].min() <= config.max_underside_m
    ]


def extents(points: npt.NDArray[np.float32]) -> FloatArray:
    """(2,) how far a cluster reaches in the ground plane along its main axis, and across it; metres."""
    flat = points[:, :2].astype(np.float64)
    _, _, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    reach: FloatArray = np.ptp(flat @ axes.T, axis=0)
    return reach


def misfits(extent: FloatArray, sizes: FloatArray) -> FloatArray:
    """(C,) how badly a cluster suits each class: 0 fits.

    Args:
        extent: (3,) length, width and height as seen.
        sizes: (C, 3) as they usually are.

    A side that is not seen makes a thing look smaller, never larger: what is too large weighs fully, what is too
    small a third of it; how high it reaches is always seen.
    """
    off = np.log(np.maximum(extent, 0.05) / sizes)
    too_large = np.clip(off - np.log(_SELDOM_SO_LARGE), 0.0, None)
    too_small = np.clip(-off, 0.0, None) * np.array([1 / 3, 1 / 3, 1.0])
    misfit: FloatArray = 3 * too_large.sum(axis=1) + too_small.sum(axis=1)
    return misfit
