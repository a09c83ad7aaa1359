"""Monocular depth models of the transformers library, for labels from pictures alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from lidarloop_core.errors import ConfigError
from lidarloop_core.sample import CameraImage
from lidarloop_training.pseudolabel.mask_models.ground_scale import metres
from lidarloop_training.pseudolabel.mask_models.pretrained import Pretrained, as_picture, load

_KINDS = ("zoedepth", "depth_anything", "dpt")


class TransformersDepth:
    """A ``DepthModel``: ZoeDepth, Depth Anything or DPT.

    A model of relative depth is brought to metres by the road, see ``ground_scale.metres``; a picture that shows too
    little of one has no depth, NaN everywhere. Metric depth is taken as it is unless ``scale_by_road`` asks for more.

    Args:
        pretrained: model and image processor.
        scale_by_road: whether metric depth is rescaled by the road, too: for cameras unlike the training data's.

    Raises:
        ConfigError: the model is none of these.
    """

    def __init__(self, pretrained: Pretrained, *, scale_by_road: bool = False) -> None:
        if pretrained.kind not in _KINDS:
            raise ConfigError(f"{pretrained.name} is a {pretrained.kind}; expected one of {', '.join(_KINDS)}")
        # Depth Anything is trained for either; DPT's published weights are for inverse depth.
        kind_of_depth = getattr(pretrained.model.config, "depth_estimation_type", "metric")
        self._is_inverse = pretrained.kind == "dpt" or kind_of_depth == "relative"
        self._scale_by_road = scale_by_road or self._is_inverse
        self._pretrained = pretrained
        self.name = f"{pretrained.name}{' scaled by the road' if self._scale_by_road else ''}"

    def depth(self, sample_token: str, images: Sequence[CameraImage]) -> list[npt.NDArray[np.float32]]:
        """(H, W) metres along the optical axis for each picture; the sample's token does not matter."""
        return [self._depth(image) for image in images]

    def _depth(self, image: CameraImage) -> npt.NDArray[np.float32]:
        picture = image.load()
        # Some processors pad, and only some know how to take that off again; without it the edges are a little worse.
        inputs = self._pretrained.inputs(images=as_picture(picture), do_pad=False)
        with self._pretrained.running():
            predicted = self._pretrained.model(**inputs).predicted_depth.float()[None]
        size = picture.shape[:2]
        resized = torch.nn.functional.interpolate(predicted, size=size, mode="bilinear", align_corners=False)
        seen: npt.NDArray[np.float32] = resized[0, 0].cpu().numpy()
        if not self._scale_by_road:
            return np.where(seen > 0, seen, np.float32(np.nan))
        with np.errstate(divide="ignore"):
            inverse = seen if self._is_inverse else 1 / np.maximum(seen, 0)
        scaled = metres(inverse, image, offset=self._is_inverse)
        return np.full(seen.shape, np.nan, np.float32) if scaled is None else scaled


def open_transformers_depth(
    source: str, *, revision: str | None = None, device: str | None = None, scale_by_road: bool = False
) -> TransformersDepth:
    """A depth model from a folder or the hub, e.g. "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf".

    Raises:
        BackendError: transformers or something that the model needs is not installed.
        ModelFileError: the model cannot be had.
        ConfigError: it is of a kind that is not known here.
    """
    loaded = load(
        "AutoModelForDepthEstimation", source, processor="AutoImageProcessor", revision=revision, device=device
    )
    return TransformersDepth(loaded, scale_by_road=scale_by_road)
