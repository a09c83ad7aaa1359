"""Configuration of refinement, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

from lidarloop_core.tracking.class_motion import MotionTable


@dataclass(frozen=True)
class RefineConfig:
    """Steps of refinement, each with a switch, so that the gain of each can be measured.

    Steps that are off by default answer what was found wrong on real drives; ``ablations.candidates`` switches them on.

    Attributes:
        join_places: join tracks of objects that stand at the same place, whatever the time between them.
        vote_class: replace each label's class by the one that the track's labels name with most confidence.
        fix_size: replace each label's size by one size of the track.
        smooth: replace each label's place and yaw by one of a standing track, or by the smooth path of a moving one.
        fill_gap_s: longest gap between two labels that is filled, seconds; 0 fills none.
        extend_s: longest time before the first and after the last label for which a standing track is extended if
            LiDAR points confirm it, seconds; 0 extends none.
        extend_share: least share of the frames that could show a track and have a label of it, for extension.
        resemble: fill in only where a track has about as many LiDAR points as in its labelled frames, with the range
            allowed for.
        end_empty: do not fill in where the LiDAR looked through a track's place, nor beyond.
        weigh_views: count a frame without a label against a track only if a camera looked at it.
        refit: fit boxes anew to the LiDAR points near the tracks, if points are given.
        usual_size: give a track's size along an axis of which it does not show both ends, or shows too little, by the
            drive's usual size of its class; with ``refit``.
        class_by_size: make a truck of a car larger than cars are; with ``refit``.
        vote_front: decide between the two headings along the axis of what stands by its profile, the side of the road,
            and the headings of tracks beside it; with ``refit``.
        drives_right: whether traffic keeps to the right; for ``vote_front``.
        rescore: replace each label's score by one of the full track.
        min_hits: least number of labels of a track, unless its best score reaches ``min_lone_score``.
        min_lone_score: score from which a track with fewer labels is kept, in [0, 1].
        suppress_iou: bird's-eye-view IoU of two refined boxes above which the worse is removed; 1 keeps all.
        double_iou: the same for two boxes of one class; of two tracks the same one gives way in all frames.
        min_standing_hits: least number of labels of a standing track.
        min_standing_s: least time between its first and last label, seconds.
        coast_s: longest time without a label over which a moving track continues, seconds.
        max_range_m: largest distance from the LiDAR at which boxes are filled in, metres.
        motion: motion of the classes, and which are confused.
    """

    join_places: bool = True
    vote_class: bool = True
    fix_size: bool = True
    smooth: bool = True
    fill_gap_s: float = 3.0
    extend_s: float = 20.0
    extend_share: float = 0.2
    resemble: bool = False
    end_empty: bool = False
    weigh_views: bool = False
    refit: bool = True
    usual_size: bool = False
    class_by_size: bool = False
    vote_front: bool = False
    drives_right: bool = True
    rescore: bool = True
    min_hits: int = 2
    min_lone_score: float = 0.7
    suppress_iou: float = 0.3
    double_iou: float = 1.0
    min_standing_hits: int = 4
    min_standing_s: float = 2.0
    coast_s: float = 2.1
    max_range_m: float = 55.0
    motion: MotionTable = field(default_factory=MotionTable)
