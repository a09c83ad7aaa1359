"""The boxes whose deep features are compared: the student's own, as the vehicle would publish them, or labelled ones.

Source: S2M2-SSD (Zheng et al., CVPR 2022), section 3.5 and table 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lidarloop_core.geometry.iou import nms_rotated_by_label
from lidarloop_training.losses.distillation.config import InstanceConfig
from lidarloop_training.losses.distillation.responses import CrucialResponses
from lidarloop_training.models.heads.center import NOT_A_PEAK, CenterHead, HeadOutput


def instances(
    output: HeadOutput,
    head: CenterHead,
    crucial: CrucialResponses,
    labelled: Sequence[Tensor],
    config: InstanceConfig,
) -> list[Tensor]:
    """Instances of each sample of a batch, without gradient.

    Args:
        output: the student's raw maps.
        head: decodes them.
        crucial: the student's crucial responses.
        labelled: (O, 9) labelled boxes of each sample, metres and radians.
        config: which boxes are instances.

    Returns:
        (N, 9) boxes of each sample, metres and radians, LiDAR frame.
    """
    if config.instances == "gt-boxes":
        return list(labelled)
    heatmap, min_score = output.heatmap.detach(), config.min_score
    if config.instances == "crucial-nms":
        # A false negative is below any score that would be published: all crucial cells count, and no other.
        is_crucial = crucial.any[:, head.group_of_class]
        heatmap, min_score = heatmap.masked_fill(~is_crucial, NOT_A_PEAK), torch.finfo(torch.float32).tiny
    regression = output.regression.detach()
    return [
        _after_nms(HeadOutput(heatmap[i : i + 1], regression[i : i + 1]), head, min_score, config.nms_iou)
        for i in range(len(heatmap))
    ]


def _after_nms(output: HeadOutput, head: CenterHead, min_score: float, nms_iou: float) -> Tensor:
    """The student's boxes of one sample that are above a score and that no better one of their class overlaps."""
    boxes, scores, labels = head.decode(output)
    passing = scores > min_score
    boxes, scores, labels = boxes[passing], scores[passing], labels[passing]
    kept = nms_rotated_by_label(
        boxes.cpu().numpy(), scores.cpu().numpy(), labels.cpu().numpy(), [nms_iou] * head.num_classes
    )
    return boxes[torch.from_numpy(kept).to(boxes.device)]
