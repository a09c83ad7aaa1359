"""Centre heads: heatmaps and box regressions for groups of classes, peak picking and decoding.

Source: CenterPoint (Yin et al., CVPR 2021), section 4.1: a heatmap per class, and at each centre the sub-cell offset,
height, log size, sine and cosine of yaw, velocity. Each group of classes has its own regression. Decoding is part of
the network, so that the exported graph gives boxes and no second implementation has to be kept in step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.models.backbones.bev import conv_norm_relu

# What the head regresses at a centre, in order; loss targets have the same columns.
REGRESSION_COLUMNS = (
    "offset_x", "offset_y", "z", "log_length", "log_width", "log_height", "sin_yaw", "cos_yaw", "vx", "vy",
)  # fmt: skip

# The last of them.
NUM_VELOCITIES = 2

# The heatmap's bias at the start: every cell scores 0.1, so that the many empty ones do not dominate the first steps
# (RetinaNet, Lin et al., ICCV 2017, section 4.1; CenterPoint uses the same value).
INITIAL_SCORE = 0.1

# The logit of a cell that is no peak: its score is exactly 0 in float32.
NOT_A_PEAK = -1e4


class HeadOutput(NamedTuple):
    """Raw maps of a batch.

    Attributes:
        heatmap: (B, num_classes, H, W) logits, in the order of ``spec.class_names``.
        regression: (B, 10, num_groups, H, W), ``REGRESSION_COLUMNS`` of each group; metres, radians and cells.
    """

    heatmap: Tensor
    regression: Tensor


class Decoded(NamedTuple):
    """The K best peaks of one sample, best first: boxes (K, 9), scores (K,), labels (K,) int64."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def group_of_class(class_names: Sequence[str], class_groups: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """The group each class belongs to.

    Raises:
        ConfigError: the groups do not hold each class exactly once.
    """
    named = [name for group in class_groups for name in group]
    if sorted(named) != sorted(class_names):
        raise ConfigError(
            f"class_groups received {class_groups}; expected groups that hold each of {', '.join(class_names)} once: "
            "name the classes by --classes, from which the groups follow"
        )
    where = {name: i for i, group in enumerate(class_groups) for name in group}
    return tuple(where[name] for name in class_names)


def fitted_groups(class_names: Sequence[str], class_groups: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Groups of other classes: the given groups without the classes that are gone, and one more of those that are new.

    Args:
        class_names: the classes.
        class_groups: groups of any classes.
    """
    kept = [tuple(name for name in group if name in class_names) for group in class_groups]
    named = {name for group in kept for name in group}
    new = tuple(name for name in class_names if name not in named)
    return tuple(group for group in (*kept, new) if group)


class CenterHead(nn.Module):
    """A shared 3×3 convolution, then for each group one 3×3 convolution and its outputs.

    Velocities follow from a wider neighbourhood than the rest: a car at 6 m/s leaves a trail of 3 m in half a second.
    So each group may have two 3×3 convolutions more, for them alone.

    Args:
        spec: classes, grid and number of boxes.
        in_channels: channels of the map.
        stride: cells of the grid that one cell of the map spans, each way.
        class_groups: groups of classes.
        shared_channels: channels of the shared convolution.
        group_channels: channels of each group's convolution.
        velocity_channels: channels of each group's convolutions for velocities; 0 reads them off the group's other one.
    """

    group_of_class: Tensor
    cell_size_m: Tensor
    low_m: Tensor

    def __init__(
        self,
        spec: ModelSpec,
        in_channels: int,
        stride: int,
        *,
        class_groups: Sequence[Sequence[str]],
        shared_channels: int,
        group_channels: int,
        velocity_channels: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes = len(spec.class_names)
        self.max_detections = spec.detection.max_detections
        groups = group_of_class(spec.class_names, class_groups)
        self.shared = conv_norm_relu(in_channels, shared_channels)
        self.hidden = nn.ModuleList(conv_norm_relu(shared_channels, group_channels) for _ in class_groups)
        self.heatmaps = nn.ModuleList(_heatmap_layer(group_channels, len(group)) for group in class_groups)
        columns = len(REGRESSION_COLUMNS) - (NUM_VELOCITIES if velocity_channels else 0)
        self.regressions = nn.ModuleList(nn.Conv2d(group_channels, columns, 1) for _ in class_groups)
        self.velocities = nn.ModuleList(
            _velocity_layers(shared_channels, velocity_channels) for _ in class_groups if velocity_channels
        )
        grouped = [name for group in class_groups for name in group]
        self.channel_order = [grouped.index(name) for name in spec.class_names]
        self.register_buffer("group_of_class", torch.tensor(groups), persistent=False)
        size = torch.tensor(spec.grid.cell_size_m[:2]) * stride
        self.register_buffer("cell_size_m", size, persistent=False)
        self.register_buffer("low_m", torch.tensor([spec.grid.x_range_m[0], spec.grid.y_range_m[0]]), persistent=False)

    def forward(self, features: Tensor) -> HeadOutput:
        """(B, in_channels, H, W) → the raw maps, float32 under autocast too."""
        return self.outputs(self.shared(features))

    def outputs(self, shared: Tensor) -> HeadOutput:
        """(B, shared_channels, H, W) of the shared convolution → the raw maps, float32 under autocast too."""
        hidden = [layer(shared) for layer in self.hidden]
        heatmap = torch.cat([layer(x) for layer, x in zip(self.heatmaps, hidden, strict=True)], dim=1)
        if self.channel_order != sorted(self.channel_order):
            heatmap = heatmap[:, self.channel_order]
        regression = torch.stack([layer(x) for layer, x in zip(self.regressions, hidden, strict=True)], dim=2)
        if self.velocities:
            regression = torch.cat([regression, torch.stack([layer(shared) for layer in self.velocities], 2)], dim=1)
        return HeadOutput(heatmap.float(), regression.float())

    def decode(self, output: HeadOutput) -> Decoded:
        """Peaks and boxes of one sample (B = 1).

        A peak is a cell that equals the maximum of its 3×3 neighbourhood in its class's heatmap (CenterNet, Zhou et al.
        2019, section 4.1). The best ``max_detections`` over all classes are kept; K is less only on a smaller map.
        """
        logits = output.heatmap[0]
        num_cells = logits.shape[1] * logits.shape[2]
        highest = nn.functional.max_pool2d(logits.unsqueeze(0), 3, stride=1, padding=1)[0]
        peaks = torch.where(highest == logits, logits, NOT_A_PEAK).flatten()
        best, index = torch.topk(peaks, min(self.max_detections, self.num_classes * num_cells))
        labels = torch.floor_divide(index, num_cells)
        position = index - labels * num_cells
        values = output.regression[0].flatten(1)[:, self.group_of_class[labels] * num_cells + position]
        row = torch.floor_divide(position, logits.shape[2])
        cell = torch.stack([position - row * logits.shape[2], row]).to(values.dtype)
        xy = (cell + values[0:2]) * self.cell_size_m.unsqueeze(1) + self.low_m.unsqueeze(1)
        yaw = arctan2(values[6], values[7])
        boxes = torch.cat([xy, values[2:3], values[3:6].exp(), yaw.unsqueeze(0), values[8:10]])
        return Decoded(boxes.transpose(0, 1).contiguous(), best.sigmoid(), labels)


def _heatmap_layer(in_channels: int, num_classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, num_classes, 1)
    nn.init.constant_(layer.bias, -math.log((1 - INITIAL_SCORE) / INITIAL_SCORE))  # type: ignore[arg-type]
    return layer


def _velocity_layers(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        conv_norm_relu(in_channels, channels),
        conv_norm_relu(channels, channels),
        nn.Conv2d(channels, NUM_VELOCITIES, 1),
    )


def arctan2(y: Tensor, x: Tensor) -> Tensor:
    """The angle of each (x, y), two tensors (N,) or of any one shape: in [-π, π], 0 at the origin.

    From Atan alone, since ONNX has no Atan2.

    The smaller side is divided by the larger, so the quotient never leaves [0, 1]; the octant is put right afterwards.
    """
    wide, high = x.abs(), y.abs()
    longer = torch.maximum(wide, high)
    quotient = torch.minimum(wide, high) / torch.where(longer == 0, torch.ones_like(longer), longer)
    angle = quotient.atan()
    angle = torch.where(high > wide, math.pi / 2 - angle, angle)
    angle = torch.where(x < 0, math.pi - angle, angle)
    return torch.where(y < 0, -angle, angle)
