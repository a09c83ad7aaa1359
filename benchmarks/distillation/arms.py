"""What the study trains: the rows of S2M2-SSD's tables 2-5 and 7, and the choices that its text leaves open."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lidarloop_training.losses.distillation.config import (
    LEVELS,
    DistillationLossConfig,
    InstanceConfig,
    Instances,
    Level,
    Mining,
    PointConfig,
    ResponseConfig,
    VoxelConfig,
)

TEACHER, STUDENT, FULL = "teacher", "student alone", "full"

NO_REGRESSION = (0.0,) * 10


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: what it is called in the results.
        distillation: levels and choices; None for the teacher and the student alone.
        is_promised: whether a target rests on it, so that it runs with all seeds.
    """

    name: str
    distillation: DistillationLossConfig | None = None
    is_promised: bool = False


def arms() -> tuple[Arm, ...]:
    """All arms, those that targets rest on first; each occurs once, though it may be a row of several tables."""
    return (
        Arm(TEACHER, is_promised=True),
        Arm(STUDENT, is_promised=True),
        Arm(FULL, _levels(*LEVELS), is_promised=True),
        *levels_of_table_3(),
        *mining_of_table_4(),
        *filters_of_table_5(),
        *instances_of_table_7(),
        *open_choices(),
    )


def levels_of_table_3() -> tuple[Arm, ...]:
    """Each level alone, and one after another; all four are ``FULL``."""
    return (
        *(Arm(level, _levels(level)) for level in LEVELS),
        Arm("response + voxel", _levels("response", "voxel")),
        Arm("response + voxel + point", _levels("response", "voxel", "point")),
    )


def mining_of_table_4() -> tuple[Arm, ...]:
    """Kinds of responses, without regression; with it, all crucial ones are the arm ``response``."""
    kinds: tuple[Mining, ...] = ("all", "TP", "TP+FP", "TP+FN", "crucial")
    return tuple(Arm(f"responses: {kind}", _response(_only(kind))) for kind in kinds)


def filters_of_table_5() -> tuple[Arm, ...]:
    """Consistency, relations or both, of all voxels or crucial ones; both of the crucial ones are the arm ``voxel``."""
    found = []
    for only_crucial, words in ((False, "w/o filter"), (True, "w/ filter")):
        both = VoxelConfig(only_crucial=only_crucial)
        found.append(Arm(f"voxels: cons {words}", _voxel(replace(both, relation_weight=0.0))))
        found.append(Arm(f"voxels: rel {words}", _voxel(replace(both, true_weight=0.0, false_weight=0.0))))
    return (*found, Arm("voxels: cons&rel w/o filter", _voxel(VoxelConfig(only_crucial=False))))


def instances_of_table_7() -> tuple[Arm, ...]:
    """What an instance is; the student's boxes after suppression are the arm ``instance``."""
    kinds: tuple[Instances, ...] = ("gt-boxes", "crucial-nms")
    return tuple(
        Arm(f"instances: {kind}", replace(_levels("instance"), instance=InstanceConfig(instances=kind)))
        for kind in kinds
    )


def open_choices() -> tuple[Arm, ...]:
    """Which voxel layer, how many neighbours, which scores: ours are the arms ``voxel``, ``point`` and ``response``."""
    return (
        Arm("voxel: one level finer", replace(_levels("voxel"), voxel_level=-2)),
        Arm("point: k = 1", replace(_levels("point"), point=PointConfig(num_neighbours=1))),
        Arm("point: k = 8", replace(_levels("point"), point=PointConfig(num_neighbours=8))),
        Arm("response: largest scores", _response(ResponseConfig(scores="largest"))),
    )


def _levels(*levels: Level) -> DistillationLossConfig:
    return DistillationLossConfig(levels=levels)


def _only(mining: Mining) -> ResponseConfig:
    return ResponseConfig(mining=mining, regression_weights=NO_REGRESSION)


def _response(response: ResponseConfig) -> DistillationLossConfig:
    return replace(_levels("response"), response=response)


def _voxel(voxel: VoxelConfig) -> DistillationLossConfig:
    return replace(_levels("voxel"), voxel=voxel)
