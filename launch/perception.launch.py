"""Starts the LiDAR detector and brings it up: configured, warmed up, active. With cameras, the self-labeller too.

    ros2 launch lidarloop_bringup perception.launch.py model:=/path/to/model.onnx
    ros2 launch launch/perception.launch.py model:=models/pillar-toytown.onnx points_topic:=/velodyne_points

The Fast DDS profile is set for every process started from here on. The LiDAR driver publishes the clouds, so it needs
the profile too: start it after this file in the same launch (and in the same `GroupAction`, to which the profile would
be limited), or export the variable for it (see config/fastdds.xml).
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from lidarloop_ros.node.bring_up import (
    INPUTS,
    common_arguments,
    config_folder,
    fast_dds_profile,
    in_order,
    labelling_arguments,
    lifecycle_node,
    model_argument,
    self_labeller,
    switch,
    text,
    use_sim_time,
)

CONFIG = config_folder(__file__)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        in_order(
            [
                *launch_arguments(),
                *fast_dds_profile(CONFIG),
                *lifecycle_node("lidar_detector", {"model": text("model"), "backend": text("backend")}, INPUTS),
                *self_labeller(condition=IfCondition(LaunchConfiguration("self_labelling"))),
                rviz(condition=IfCondition(LaunchConfiguration("rviz"))),
            ]
        )
    )


def rviz(condition: IfCondition) -> Node:
    """RViz with the layout's topics remapped to those of the arguments."""
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(CONFIG.parent / "rviz" / "perception.rviz")],
        parameters=[use_sim_time()],
        remappings=[
            ("/lidar/points", LaunchConfiguration("points_topic")),
            ("/lidar_detector/markers", "lidar_detector/markers"),
            ("/lidar_detector/points/labelled", "lidar_detector/points/labelled"),
        ],
        condition=condition,
    )


def launch_arguments() -> list[DeclareLaunchArgument]:
    """The launch arguments, named as in Nav2 where Nav2 has them."""
    return [
        model_argument(),
        DeclareLaunchArgument(
            "backend",
            default_value="onnxruntime",
            description="What runs the model: onnxruntime (on the params file's `providers`) or tensorrt",
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(CONFIG / "detector.yaml"),
            description="Parameters of the detector; the other arguments override it",
        ),
        *common_arguments(),
        switch("self_labelling", "Label the drive with the cameras, and keep frames"),
        *labelling_arguments(CONFIG / "self_labeller.yaml"),
        switch("rviz", "Start RViz with lidarloop's layout"),
    ]
