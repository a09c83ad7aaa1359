"""Labels from the pictures alone: depth that a model sees in them stands in for the LiDAR.

The camera-only rival of the paper's table. Every n-th pixel of a depth picture becomes a point, and from there on all
goes as with a LiDAR's points: one lifting for both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.sample import CameraImage, Sample, camera_SE3_lidar

STRIDE_PX = 2
"""Of the pixels that become points: as many as two turns of a LiDAR give."""

MAX_DEPTH_M = 60.0
"""Farther, no model estimates depth from a single image."""


class DepthModel(Protocol):
    """Sees in a picture how far things are.

    Attributes:
        name: name of the model, for provenance.
    """

    name: str

    def depth(self, sample_token: str, images: Sequence[CameraImage]) -> list[npt.NDArray[np.float32]]:
        """(H, W) metres along the optical axis for each picture; NaN or infinite where there is nothing."""
        ...


class DepthLifter:
    """A lifter that looks at no LiDAR.

    Args:
        mask_model: finds the objects in the images.
        model: sees the depth in them.
        priors: usual sizes of the classes, metres.
        config: steps of the lifting; there is one sweep, for there is one image of each camera.
    """

    def __init__(self, mask_model: MaskModel, model: DepthModel, priors: ShapePriors, config: LiftingConfig) -> None:
        self.name = f"{mask_model.name}; depth: {model.name}"
        self.class_names = mask_model.class_names
        self._mask_model = mask_model
        self._model = model
        self._priors = priors
        self._config = dataclasses.replace(config, num_sweeps=1, drop_smear=False)

    def __call__(self, sample: Sample, lanes: LaneLookup | None) -> tuple[PseudoLabels, LeftOut]:
        found = self._mask_model.find(sample.token, sample.cameras)
        by_camera = {camera.name: masks for camera, masks in zip(sample.cameras, found, strict=True)}
        depths = self._model.depth(sample.token, sample.cameras)
        return lift(with_points_from(sample, depths), by_camera, self._priors, self._config, lanes)


def with_points_from(sample: Sample, depths: Sequence[npt.NDArray[np.float32]]) -> Sample:
    """The sample with the points of depth images in the place of its sweeps.

    Args:
        sample: cameras and keyframe.
        depths: (H, W) metres along the optical axis, one for each camera.
    """
    clouds = [np.zeros((0, 3), np.float32)]
    for camera, depth in zip(sample.cameras, depths, strict=True):
        if np.isfinite(camera.intrinsics).all() and np.linalg.det(camera.intrinsics) != 0:  # lifting counts those
            lidar_SE3_camera = camera_SE3_lidar(camera, sample.keyframe).inverse()
            clouds.append(lidar_SE3_camera.transform(_points(depth, camera.intrinsics)))
    sweep = dataclasses.replace(sample.keyframe, points=np.concatenate(clouds), columns=("x", "y", "z"))
    return dataclasses.replace(sample, sweeps=(sweep,))


def _points(depth: npt.NDArray[np.float32], intrinsics: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(N, 3) in the optical frame, of every ``STRIDE_PX``-th pixel in both directions."""
    rows, columns = (np.arange(0, size, STRIDE_PX) for size in depth.shape)
    u, v = np.meshgrid(columns, rows)
    thinned = depth[np.ix_(rows, columns)]
    near = np.isfinite(thinned) & (thinned > 0) & (thinned < MAX_DEPTH_M)
    rays = np.stack([u[near], v[near], np.ones(int(near.sum()))], axis=1) @ np.linalg.inv(intrinsics).T
    points: npt.NDArray[np.float32] = (rays * thinned[near, None]).astype(np.float32)
    return points
