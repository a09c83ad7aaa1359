"""Weights and choices of the four levels of distillation.

Source: S2M2-SSD (Zheng et al., CVPR 2022), section 4.1 for the values; the choices are its ablations (tables 3-5, 7).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lidarloop_core.errors import ConfigError
from lidarloop_training.models.heads.center import REGRESSION_COLUMNS
from lidarloop_training.ranges import check_ranges

Level = Literal["response", "voxel", "point", "instance"]

LEVELS: tuple[Level, ...] = ("response", "voxel", "point", "instance")
"""All levels, from the shallowest loss to the deepest."""

Mining = Literal["all", "TP", "TP+FP", "TP+FN", "crucial"]
"""Which responses are distilled: all cells of the map, or the crucial ones of these kinds; see table 4."""

Instances = Literal["gt-boxes", "crucial-nms", "all-nms"]
"""What an instance is: a labelled box, or a box of the student, at crucial cells or anywhere; see table 7."""


@dataclass(frozen=True)
class ResponseConfig:
    """Response distillation, equations 1-4.

    Attributes:
        threshold: τ, score above which a cell counts as an answer, in [0, 1].
        true_weight, false_weight: w₁ʳ of true positives, w₂ʳ of false positives and negatives.
        regression_weights: w_eʳ, one for each of ``REGRESSION_COLUMNS``; zeros leave the regression out.
        mining: which responses are distilled.
        scores: what is compared at a cell: the scores of all classes of a group, or the largest of each side.
    """

    threshold: float = 0.1
    true_weight: float = 1.0
    false_weight: float = 5.0
    regression_weights: tuple[float, ...] = (0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.0, 0.0, 0.1, 0.1)
    mining: Mining = "crucial"
    scores: Literal["classes", "largest"] = "classes"

    def __post_init__(self) -> None:
        check_ranges(
            "ResponseConfig",
            threshold=(self.threshold, 0, 1),
            true_weight=(self.true_weight, 0, 1e6),
            false_weight=(self.false_weight, 0, 1e6),
            regression_weights=(self.regression_weights, 0, 1e6),
        )
        if len(self.regression_weights) != len(REGRESSION_COLUMNS):
            raise ConfigError(
                f"ResponseConfig received {len(self.regression_weights)} regression_weights; expected "
                f"{len(REGRESSION_COLUMNS)}, one each for {', '.join(REGRESSION_COLUMNS)}"
            )


@dataclass(frozen=True)
class VoxelConfig:
    """Sparse-voxel distillation, equations 5-7.

    Attributes:
        true_weight, false_weight: w₁ᵛ and w₂ᵛ.
        relation_weight: weight of the relations, 1 in the paper.
        only_crucial: whether the voxels above crucial responses are compared, or all, as true ones.
        max_relations: voxels of a cloud between which relations are compared; of more, evenly fewer. Their number is
            squared in time and memory, and before the first thousand steps nearly every cell is a false positive.
    """

    true_weight: float = 2.0
    false_weight: float = 8.0
    relation_weight: float = 1.0
    only_crucial: bool = True
    max_relations: int = 4500

    def __post_init__(self) -> None:
        check_ranges(
            "VoxelConfig",
            true_weight=(self.true_weight, 0, 1e6),
            false_weight=(self.false_weight, 0, 1e6),
            relation_weight=(self.relation_weight, 0, 1e6),
            max_relations=(self.max_relations, 1, 10**5),
        )


@dataclass(frozen=True)
class PointConfig:
    """Voxel-to-point distillation, equations 8-11.

    Attributes:
        num_neighbours: k, voxels whose features a point is given; the paper does not state it, and the layer that it
            takes (PointNet++, Qi et al., NeurIPS 2017, section 3.4) has 3.
        weight: w_fᵖ.
        relation_weight: weight of the relations, 1 in the paper.
        max_relations: points of a cloud, drawn at random, between which relations are compared.
    """

    num_neighbours: int = 3
    weight: float = 2.0
    relation_weight: float = 1.0
    max_relations: int = 4500

    def __post_init__(self) -> None:
        check_ranges(
            "PointConfig",
            num_neighbours=(self.num_neighbours, 1, 64),
            weight=(self.weight, 0, 1e6),
            relation_weight=(self.relation_weight, 0, 1e6),
            max_relations=(self.max_relations, 1, 10**5),
        )


@dataclass(frozen=True)
class InstanceConfig:
    """Instance distillation, equation 12.

    Attributes:
        weight: w^I.
        grid_size: points of the grid in a box, along its length and along its width.
        instances: which boxes.
        min_score: least score of a box of the student for ``all-nms``.
        nms_iou: bird's-eye-view overlap above which the weaker of the student's boxes of a class is left out.
    """

    weight: float = 8.0
    grid_size: int = 5
    instances: Instances = "all-nms"
    min_score: float = 0.1
    nms_iou: float = 0.2

    def __post_init__(self) -> None:
        check_ranges(
            "InstanceConfig",
            weight=(self.weight, 0, 1e6),
            grid_size=(self.grid_size, 1, 64),
            min_score=(self.min_score, 0, 1),
            nms_iou=(self.nms_iou, 0, 1),
        )


@dataclass(frozen=True)
class DistillationLossConfig:
    """All levels, equation 13. λ is ``CenterLossConfig.regression_weight``.

    Attributes:
        levels: levels that are distilled.
        voxel_level: level of the encoder whose voxels are compared and interpolated, as an index of its levels above
            the map; -1 is the paper's, the last that knows height. A pillar encoder has one level.
        weight: μ, of the sum of all levels.
        response: response distillation.
        voxel: sparse-voxel distillation.
        point: voxel-to-point distillation.
        instance: instance distillation.
    """

    levels: tuple[Level, ...] = LEVELS
    voxel_level: int = -1
    weight: float = 0.5
    response: ResponseConfig = field(default_factory=ResponseConfig)
    voxel: VoxelConfig = field(default_factory=VoxelConfig)
    point: PointConfig = field(default_factory=PointConfig)
    instance: InstanceConfig = field(default_factory=InstanceConfig)

    def __post_init__(self) -> None:
        check_ranges("DistillationLossConfig", weight=(self.weight, 0, 1e6), voxel_level=(self.voxel_level, -8, 7))
        if len(set(self.levels)) != len(self.levels) or not set(self.levels) <= set(LEVELS):
            raise ConfigError(
                f"DistillationLossConfig received levels {', '.join(self.levels)}; expected each of "
                f"{', '.join(LEVELS)} once at most"
            )
