"""What lifting does, step by step: the paper's pipeline, and the whole one of this project."""

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
    """Every step can be switched, so that every step can be measured. The defaults are the paper's pipeline (CM3D,
    Khurana et al., CoRL 2024) with the numbers of its authors' code.

    Attributes:
        min_score_2d: of a 2D detection.
        nms_iou_2d: of two 2D boxes of one class in a picture, above which the weaker goes.
        num_sweeps: accumulated with ego-motion, the keyframe among them.
        ego_half_width_m: points nearer to the LiDAR than this both forwards and sideways are the vehicle itself.
        min_depth_m: points nearer to the camera are not looked up in its masks.
        erosion_px: masks lose so many pixels at their edge (3 × 3 element, so many times), where LiDAR and camera
            disagree; a mask that would lose all its points keeps its pixels.
        min_points: in a mask, for a label.
        center: how the object's surface point or centre is found.
        push_out: move the surface point away from the sensor by half the object as seen from there; not for
            "box_fit", whose centre is the box's own.
        lane_classes: things that stand along lanes: their yaw may be the lane's, and they alone are pushed out.
        yaw: rules in order of trust: the first that is sure decides. Without an answer the yaw is that of an unsure box
            fit, if one was made, else 0 in the world's frame (where there is none, in the LiDAR's).
        max_lane_distance_m: of a centre line that may tell a yaw.
        drop_hidden: leave out points that something nearer hides from the camera.
        drop_ground: leave out the ground's points.
        split: keep the likeliest cluster of a mask that reaches onto other things; clusters are parted by "gaps" or by
            "hdbscan" (needs scikit-learn); "none" keeps all. See ``split``.
        split_merged: make labels of further clusters, too, that lie about as far off: a mask may show two neighbours.
        rescore: multiply scores by how well the points bear the labels out (``quality.evidence``).
        drop_smear: leave out points of older sweeps of objects that moved meanwhile.
        snap_to_ground: put the box's underside on the ground below it, instead of the medoid at half height.
        merge_cameras: fuse labels that two cameras give to one object.
        vote_radius: 3D NMS radius as a multiple of the authors' class-wise one.
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
    vote_radius: float = 1.0

    def __post_init__(self) -> None:
        whole = {
            "num_sweeps": (self.num_sweeps, 1),
            "min_points": (self.min_points, 1),
            "erosion_px": (self.erosion_px, 0),
        }
        for name, (value, least) in whole.items():
            if value < least:
                raise ConfigError(f"LiftingConfig received {name} = {value}; expected at least {least}")
        if not (0 <= self.min_score_2d <= 1 and 0 <= self.nms_iou_2d <= 1):
            raise ConfigError(
                f"LiftingConfig received min_score_2d = {self.min_score_2d} and nms_iou_2d = {self.nms_iou_2d}; "
                "expected both between 0 and 1"
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
    """All of ours, for labels that are refined over a drive afterwards."""
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
