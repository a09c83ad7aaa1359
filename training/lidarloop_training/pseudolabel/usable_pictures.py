"""Which pictures of a sample are looked at: one that is too large or broken costs its camera, not the run."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

from lidarloop_core.errors import DatasetError, ImageFormatError
from lidarloop_core.sample import CameraImage, Sample

BROKEN = "no readable picture"


def without_large(sample: Sample, most_megapixels: float) -> tuple[Sample, Counter[str]]:
    """The sample without the cameras whose pictures have more pixels, and reason → number of those; none is decoded."""
    reason = f"above --max-picture-mpx {most_megapixels:g}"
    return _only(sample, lambda image: image.width * image.height <= most_megapixels * 1e6, reason)


def without_broken(sample: Sample) -> tuple[Sample, Counter[str]]:
    """The sample without the cameras whose pictures cannot be decoded, and reason → number of those."""
    return _only(sample, _can_be_decoded, BROKEN)


def _only(sample: Sample, is_usable: Callable[[CameraImage], bool], reason: str) -> tuple[Sample, Counter[str]]:
    usable = tuple(image for image in sample.cameras if is_usable(image))
    num_others = len(sample.cameras) - len(usable)
    return dataclasses.replace(sample, cameras=usable), Counter({reason: num_others} if num_others else {})


def _can_be_decoded(image: CameraImage) -> bool:
    try:
        image.load()
    except (DatasetError, ImageFormatError):
        return False
    return True
