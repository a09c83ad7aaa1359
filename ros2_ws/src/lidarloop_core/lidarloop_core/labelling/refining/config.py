"""What refinement does, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

from lidarloop_core.tracking.class_motion import MotionTable


@dataclass(frozen=True)
class RefineConfig:
    """Every step can be switched, so that every step can be measured.

    Attributes:
        join_places: tracks of things that stand at the same place are one, however long nobody saw them.
        vote_class: the class that a track's labels name with most confidence, in place of each label's own.
        fix_size: one size for a track, in place of each label's own.
        smooth: one place and yaw for what stands, a smooth path for what moves, in place of each label's own.
        fill_gap_s: a track goes on between two labels not further apart than this; 0 fills nothing.
        extend_s: what stands is taken to have stood there this long before its first and after its last label, where
            LiDAR points confirm it; 0 extends nothing.
        extend_share: only what was labelled in at least this share of the frames that could show it is extended.
        refit: set boxes anew on the LiDAR points that the tracks point to, where points are given.
        rescore: scores by what the whole track says, in place of each label's own.
        min_hits: a track with fewer labels is dropped, unless its best score reaches ``min_lone_score``.
        min_lone_score: see ``min_hits``.
        suppress_iou: of two refined boxes of a frame that overlap more in the ground plane the worse goes; 1 keeps all.
        min_standing_hits, min_standing_s: what stands shows it by as many labels over so long a time.
        coast_s: longest time without a label over which a moving thing is found again.
        max_range_m: nothing is filled in further from the LiDAR.
        motion: how classes move, and which are mistaken for each other.
    """

    join_places: bool = True
    vote_class: bool = True
    fix_size: bool = True
    smooth: bool = True
    fill_gap_s: float = 3.0
    extend_s: float = 20.0
    extend_share: float = 0.2
    refit: bool = True
    rescore: bool = True
    min_hits: int = 2
    min_lone_score: float = 0.7
    suppress_iou: float = 0.3
    min_standing_hits: int = 4
    min_standing_s: float = 2.0
    coast_s: float = 2.1
    max_range_m: float = 55.0
    motion: MotionTable = field(default_factory=MotionTable)
