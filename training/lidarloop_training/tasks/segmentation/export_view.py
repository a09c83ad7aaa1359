"""A segmenter as the vehicle runs it: grouped points → score and label of each point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from lidarloop_core.model.outputs import Segmentation
from lidarloop_training.models.unet import SparseUNet
from lidarloop_training.tasks.export_view import ExportView, largest_difference


class SegmentationView(ExportView):
    """The U-Net and its softmax; see ``ExportView``."""

    raw_names: ClassVar[tuple[str, ...]] = Segmentation.raw_names

    network: SparseUNet

    def raw(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, classes) of one cloud's input tensors."""
        return (self.network(*inputs),)

    def decode(self, *raw: Tensor) -> tuple[Tensor, ...]:
        """Scores (N,), the largest softmax of each point, and labels (N,), its class, from logits (N, classes)."""
        (logits,) = raw
        scores, labels = logits.softmax(dim=1).max(dim=1)
        return scores, labels

    def difference(self, expected: Sequence[Tensor], found: Sequence[Tensor], tolerance: float) -> float:
        """Scores are compared point by point, and labels where the class is beyond doubt.

        Above one half a score has no equal among the other classes; below, two classes may tie.

        Args:
            expected: scores (N,) and labels (N,) of one runtime.
            found: the same of the other, same shapes.
            tolerance: scores nearer to one half are no proof of a class.

        Returns:
            Largest difference of the scores; infinite where a label differs or a score is not finite.
        """
        (scores, labels), (their_scores, their_labels) = expected, found
        differs = (labels != their_labels) & (scores > 0.5 + tolerance)
        return float("inf") if bool(differs.any()) else largest_difference(scores, their_scores)
