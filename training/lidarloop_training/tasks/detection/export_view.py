"""A detector as the vehicle runs it: grouped points → the best boxes, and the head's maps that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from lidarloop_core.model.outputs import Detection
from lidarloop_training.models.detector import CenterPoint
from lidarloop_training.models.heads.center import Decoded, HeadOutput
from lidarloop_training.tasks.export_view import ExportView, largest_difference


class DetectionView(ExportView):
    """CenterPoint with its decoding; see ``ExportView``."""

    raw_names: ClassVar[tuple[str, ...]] = Detection.raw_names

    network: CenterPoint  # or another network with its head and its raw maps

    def raw(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Heatmap (1, num_classes, H, W) and regression (1, 10, num_groups, H, W) of one cloud's input tensors."""
        return tuple(self.network(*inputs))

    def decode(self, *raw: Tensor) -> tuple[Tensor, ...]:
        """Boxes (K, 9), scores (K,) and labels (K,), best first, from heatmap and regression; metres and radians."""
        return tuple(self.network.head.decode(HeadOutput(*raw)))

    def difference(self, expected: Sequence[Tensor], found: Sequence[Tensor], tolerance: float) -> float:
        """Scores are compared in order, boxes with the nearest of the other side that has the same label.

        Boxes that tie with the last one are left out: which of them is among the K best is a matter of order.

        Args:
            expected: boxes (K, 9), scores (K,) and labels (K,) of one runtime.
            found: the same of the other, same shapes.
            tolerance: scores that differ by less are a tie.

        Returns:
            Largest difference, absolute up to 1 and relative beyond; infinite where a value is not finite.
        """
        ours, theirs = Decoded(*expected), Decoded(*found)
        scores = largest_difference(ours.scores, theirs.scores)
        clear = ours.scores > ours.scores[-1] + tolerance
        boxes, labels = ours.boxes[clear], ours.labels[clear]
        if len(boxes) == 0:
            return scores
        apart = (boxes[:, None] - theirs.boxes[None]).abs() / boxes[:, None].abs().clamp(min=1)
        apart = apart.amax(dim=2).masked_fill(labels[:, None] != theirs.labels[None], float("inf"))
        return max(scores, float(apart.amin(dim=1).max()))
