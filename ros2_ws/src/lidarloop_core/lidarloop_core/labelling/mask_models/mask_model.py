"""Mask models: 2D models that find objects of named classes in pictures, with a mask of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.sample import CameraImage


class MaskModel(Protocol):
    """A 2D detector with instance masks.

    Attributes:
        name: description for provenance: model ids or file hashes.
        class_names: names that the labels of its answers index.
    """

    name: str
    class_names: tuple[str, ...]

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        """Finds the objects in each picture: one answer for each, in its pixels, possibly empty.

        Args:
            sample_token: token of the sample with these pictures; a file of ready-made masks is searched by it.
            images: the pictures to look at.
        """
        ...
