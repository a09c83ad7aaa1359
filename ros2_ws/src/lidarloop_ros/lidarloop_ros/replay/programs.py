"""The nodes that a bag can be played to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lidarloop_ros.detector.outputs import STAGES
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.node.params import NodeParams
from lidarloop_ros.self_labeller.params import SelfLabelParams


@dataclass(frozen=True)
class Program:
    """A node of this package, as a replay sees it.

    Attributes:
        module: what is run.
        name: the node's fully qualified name.
        answers: its topic of vision_msgs/Detection3DArray, relative to its name.
        settings: class of its parameters.
        answer_timeout_s: longest wait for an answer in lockstep, seconds.
        stages: stages whose durations it publishes.
        suggested: name → value of the parameters that suit any recording.
        needs_images: whether it does nothing without the images that its parameter ``image_topics`` names.
        lane_map: topic of the lane map that it takes; "" for none.
    """

    module: str
    name: str
    answers: str
    settings: type[NodeParams]
    answer_timeout_s: float
    stages: tuple[str, ...] = ()
    suggested: Mapping[str, Any] = field(default_factory=dict)
    needs_images: bool = False
    lane_map: str = ""


DETECTOR = Program(
    "lidarloop_ros.detector.node",
    "/lidar_detector",
    "detections",
    DetectorParams,
    answer_timeout_s=20.0,
    stages=STAGES,
    suggested={"max_age_s": 0.0},  # a recording's stamps are not compared with the clock
)
SELF_LABELLER = Program(
    "lidarloop_ros.self_labeller.node",
    "/self_labeller",
    "labels",
    SelfLabelParams,
    answer_timeout_s=120.0,
    needs_images=True,
    lane_map="/lane_map",
)
