"""Configuration of lifting, step by step: the paper's pipeline, and the full one of this project."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lidarloop_core.errors import ConfigError

CenterRule = Literal["medoid", "mean", "box_fit"]
SplitRule = Literal["none", "gaps", "hdbscan"]
YawRule = Literal["lane", "box_fit"]


@dataclass(frozen=True)
class LiftingConfig:
    """Steps of lifting, each with a switch, so that the gain of each can be measured.

    The defaults are the paper's pipeline (CM3D, Khurana et al., CoRL 2024) with the numbers of its authors' code.

    Attributes:
        min_score_2d: least score of a 2D detection, in [0, 1].
        nms_iou_2d: IoU of two 2D boxes of one class above which the weaker is removed, in [0, 1].
        num_sweeps: number of sweeps accumulated with ego-motion, including the keyframe.
        ego_half_width_m: points nearer to the LiDAR than this, in x and in y, belong to the vehicle itself.
        min_depth_m: least depth of a point in a camera, metres; nearer points are not projected.
        erosion_px: number of erosions with a 3 × 3 element. LiDAR and camera disagree at a mask's edge. A mask that
            would lose all its points keeps its pixels.
        min_points: least number of points in a mask that gives a label.
        center: rule that finds the object's surface point or centre.
        push_out: move the surface point away from the sensor by half the object's extent along the ray. Without
            effect for center "box_fit", which gives the centre itself.
        lane_classes: classes that stand along lanes. Their yaw may be the lane's, and only they are pushed out.
        yaw: rules in order of trust; the first certain one decides. If none is, the yaw is that of an uncertain box
            fit, if there is one, else 0 in the world frame (without ego-motion: in the LiDAR frame).
        max_lane_distance_m: largest distance to a centre line that gives a yaw, metres.
        drop_hidden: drop points that a nearer object hides from the camera.
        drop_ground: drop points of the ground.
        split: keep the likeliest cluster of a mask's points. Clusters are found by "gaps" or by "hdbscan" (needs
            scikit-learn); "none" keeps all points. See ``points.split``.
        split_merged: also label further clusters at about the same range: a mask may show two neighbours.
        rescore: multiply scores by the support of the points (``quality.evidence``).
        drop_smear: drop points of older sweeps of objects that have moved since.
        snap_to_ground: put the box's underside on the ground below it, instead of the medoid at half height.
        merge_cameras: fuse the labels that two cameras give to one object.
        drop_walls: drop boxes that are pieces of something larger than any object of their class: in the plane of a
            face, or upwards, the points go on without a gap. See ``placing.walls``.
        vote_radius: radius of the 3D NMS as a multiple of the authors' class-wise radius.
        overlap_iou: bird's-eye-view IoU of two boxes of one class above which the worse is removed, in [0, 1]: objects
            do not stand in each other. 1 keeps all.
    """

    min_score_2d: float = 0.1
    nms_iou_2d: float = 0.75
    num_sweeps: int = 3
    ego_half_width_m: float = math.sqrt(2.3)
    min_depth_m: float = 2.3
    erosion_px: int = 1
    min_points: int = 1
    center: CenterRule = "medoid"
    push_out: bool = True
    lane_classes: tuple[str, ...] = ("car", "truck", "bus", "construction_vehicle", "trailer", "barrier")
    yaw: tuple[YawRule, ...] = ("lane",)
    max_lane_distance_m: float = math.inf
    drop_hidden: bool = False
    drop_ground: bool = False
    split: SplitRule = "none"
    split_merged: bool = False
    rescore: bool = False
    drop_smear: bool = False
    snap_to_ground: bool = False
    merge_cameras: bool = False
    drop_walls: bool = False
    vote_radius: float = 1.0
    overlap_iou: float = 1.0

    def __post_init__(self) -> None:
        integers = {
            "num_sweeps": (self.num_sweeps, 1),
            "min_points": (self.min_points, 1),
            "erosion_px": (self.erosion_px, 0),
        }
        for name, (value, least) in integers.items():
            if value < least:
                raise ConfigError(f"LiftingConfig received {name} = {value}; expected at least {least}")
        shares = (self.min_score_2d, self.nms_iou_2d, self.overlap_iou)
        if not all(0 <= share <= 1 for share in shares):
            raise ConfigError(
                f"LiftingConfig received min_score_2d, nms_iou_2d, overlap_iou = {shares}; expected all between 0 and 1"
            )
        distances_m = (self.ego_half_width_m, self.min_depth_m, self.max_lane_distance_m, self.vote_radius)
        if not min(distances_m) >= 0:
            raise ConfigError(
                "LiftingConfig received ego_half_width_m, min_depth_m, max_lane_distance_m, vote_radius = "
                f"{distances_m}; expected none negative"
            )


def paper_lifting() -> LiftingConfig:
    """The paper's pipeline, plain."""
    return LiftingConfig()


def full_lifting() -> LiftingConfig:
    """All steps of this project, for labels that are refined over a drive afterwards."""
    return LiftingConfig(
        center="box_fit",
        yaw=("box_fit", "lane"),
        drop_hidden=True,
        drop_ground=True,
        split="gaps",
        split_merged=True,
        rescore=True,
        drop_smear=True,
        snap_to_ground=True,
        merge_cameras=True,
        vote_radius=0.7,
    )
