"""Mask model: any 2D model that finds named things in pictures, with a mask for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.sample import CameraImage


class MaskModel(Protocol):
    """A 2D detector with instance masks.

    Attributes:
        name: says what it is, for provenance: model ids or file hashes.
        class_names: what the labels of its answers mean.
    """

    name: str
    class_names: tuple[str, ...]

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        """The objects in each picture, in the pixels of that picture; an answer for every picture, maybe empty.

        Args:
            sample_token: which sample the pictures belong to; a file of ready-made masks is searched by it.
            images: the pictures to look at.
        """
        ...
