"""The three ways from a sample to its labels: pictures and LiDAR together, the LiDAR alone, the pictures alone."""

from __future__ import annotations

from typing import Protocol

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.pseudolabel.camera_only import DepthLifter
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.lidar_only import ClusterLifter
from lidarloop_training.pseudolabel.mask_cache import CachedMaskModel


class Lifter(Protocol):
    """From one sample to its labels.

    Attributes:
        name: name of the 2D model behind it, for provenance.
        class_names: classes that the labels' indices refer to.
    """

    name: str
    class_names: tuple[str, ...]

    def __call__(self, sample: Sample, lanes: LaneLookup | None) -> tuple[PseudoLabels, LeftOut]: ...


class MaskLifter:
    """Images give what and where, the LiDAR how far: the paper's way and ours."""

    def __init__(self, mask_model: MaskModel, priors: ShapePriors, config: LiftingConfig) -> None:
        self.name = mask_model.name
        self.class_names = mask_model.class_names
        self._mask_model = mask_model
        self._priors = priors
        self._config = config

    def __call__(self, sample: Sample, lanes: LaneLookup | None) -> tuple[PseudoLabels, LeftOut]:
        found = self._mask_model.find(sample.token, sample.cameras)
        by_camera = {camera.name: masks for camera, masks in zip(sample.cameras, found, strict=True)}
        return lift(sample, by_camera, self._priors, self._config, lanes)


def open_lifter(job: LabelJob, drive: SampleSource) -> Lifter:
    """What a job labels with.

    Raises:
        ConfigError: it needs a 2D model and names none.
    """
    if job.sensors == "lidar":
        return ClusterLifter(job.priors, job.lifting)
    if job.mask_model is None:
        raise ConfigError(f"received sensors '{job.sensors}' without a mask model; expected one: masks, onnx, …")
    mask_model = job.mask_model.open(drive)
    if job.mask_cache is not None and job.mask_model.sees_pictures_alone:
        mask_model = CachedMaskModel(mask_model, job.mask_model, job.mask_cache)
    if job.sensors == "camera":
        return DepthLifter(mask_model, job.mask_model.open_depth(drive), job.priors, job.lifting)
    return MaskLifter(mask_model, job.priors, job.lifting)
