"""Starts the self-labeller alone, and brings it up: labels from clouds and cameras, frames worth keeping on disk.

    ros2 launch lidarloop_bringup self_label.launch.py self_label_params_file:=mine.yaml

Copy config/self_labeller.yaml and name your cameras and the mask model in it.
"""

from __future__ import annotations

from launch import LaunchDescription

from lidarloop_ros.node.bring_up import (
    common_arguments,
    config_folder,
    fast_dds_profile,
    in_order,
    labelling_arguments,
    self_labeller,
)

CONFIG = config_folder(__file__)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        in_order(
            [
                *common_arguments(),
                *labelling_arguments(CONFIG / "self_labeller.yaml"),
                *fast_dds_profile(CONFIG),
                *self_labeller(),
            ]
        )
    )
