"""What a configured self-labelling node holds."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import message_filters

from lidarloop_ros.inputs.cameras import CameraInputs
from lidarloop_ros.inputs.motion_sources import VehiclePoses
from lidarloop_ros.self_labeller.outputs import LabelOutputs
from lidarloop_ros.self_labeller.params import SelfLabelParams
from lidarloop_ros.self_labeller.pipeline import LabelPipeline


@dataclass(frozen=True)
class Loaded:
    """What a configured node holds.

    Attributes:
        settings: the parameters it was configured with.
        pipeline: turns a cloud and its images into labels.
        poses: gives the vehicle's motion and its sensors' mounting poses.
        cameras: subscriptions to images and calibrations.
        clouds: subscription to the LiDAR's clouds.
        outputs: publishes labels.
        release: destroys the publishers and subscriptions.
    """

    settings: SelfLabelParams
    pipeline: LabelPipeline
    poses: VehiclePoses
    cameras: CameraInputs
    clouds: message_filters.Subscriber
    outputs: LabelOutputs
    release: ExitStack
