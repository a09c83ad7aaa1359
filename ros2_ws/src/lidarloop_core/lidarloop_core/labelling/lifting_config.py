"""What lifting does, step by step: the paper's pipeline, and the whole one of this project."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

CenterRule = Literal["medoid", "mean", "box_fit"]
YawRule = Literal["lane", "box_fit"]


@dataclass(frozen=True)
class LiftingConfig:
    """Every step can be switched, so that every step can be measured. The defaults are the paper's pipeline (CM3D,
    Khurana et al., CoRL 2024) with the numbers of its authors' code.

    Attributes:
        min_score_2d: of a 2D detection.
        nms_iou_2d: of two 2D boxes of one class in a picture, above which the weaker goes.
        num_sweeps: accumulated with ego-motion, the keyframe among them.
        ego_radius_m: points nearer to the ego's origin (in the ground plane) are the vehicle itself.
        min_depth_m: points nearer to the camera are not looked up in its masks.
        erosion_px: masks lose so many pixels at their edge (3 × 3 element, so many times), where LiDAR and camera
            disagree; a mask that would lose all its points keeps its pixels.
        min_points: in a mask, for a label.
        center: how the object's surface point or centre is found.
        push_out: move the surface point away from the sensor by half the object as seen from there; not for
            "box_fit", whose centre is the box's own.
        yaw: rules in order of trust: the first that has an answer decides; none leaves 0.
        max_lane_distance_m: of a centre line that may tell a yaw.
        split_bleed: keep the nearest dense cluster (HDBSCAN) of a mask that reaches onto the background.
        drop_smear: leave out points of older sweeps of objects that moved meanwhile.
        snap_to_ground: put the box's underside on the ground below it, instead of the medoid at half height.
        merge_cameras: fuse labels that two cameras give to one object.
        vote_radius: 3D NMS radius as a multiple of the authors' class-wise one.
    """

    min_score_2d: float = 0.1
    nms_iou_2d: float = 0.75
    num_sweeps: int = 3
    ego_radius_m: float = math.sqrt(2.3)
    min_depth_m: float = 2.3
    erosion_px: int = 1
    min_points: int = 1
    center: CenterRule = "medoid"
    push_out: bool = True
    yaw: tuple[YawRule, ...] = ("lane",)
    max_lane_distance_m: float = math.inf
    split_bleed: bool = False
    drop_smear: bool = False
    snap_to_ground: bool = False
    merge_cameras: bool = False
    vote_radius: float = 1.0


def paper_lifting() -> LiftingConfig:
    """The paper's pipeline, plain."""
    return LiftingConfig()


def full_lifting() -> LiftingConfig:
    """All of ours, for labels that are refined over a drive afterwards."""
    return LiftingConfig(
        min_points=2,
        center="box_fit",
        yaw=("box_fit", "lane"),
        max_lane_distance_m=3.0,
        split_bleed=True,
        drop_smear=True,
        snap_to_ground=True,
        merge_cameras=True,
    )
