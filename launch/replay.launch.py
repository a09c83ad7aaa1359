"""Plays a bag to the perception stack, on the bag's own clock. To score a bag, `lidarloop replay` is the shorter way.

    ros2 launch lidarloop_bringup replay.launch.py bag:=drive.mcap model:=/path/to/model.onnx rviz:=true

Every argument of perception.launch.py may be given as well. `ros2 bag` (ros2bag, rosbag2_storage_mcap) must be there.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    Shutdown,
    TimerAction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

PERCEPTION = Path(__file__).resolve().parent / "perception.launch.py"


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs. The stack comes first, so that the bag finds the Fast DDS profile set."""
    stack = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(PERCEPTION)), launch_arguments=[("use_sim_time", "true")]
    )
    bag = ExecuteProcess(
        cmd=["ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "--rate", LaunchConfiguration("rate")],
        output="screen",
        on_exit=Shutdown(reason="the bag has ended"),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="The bag: a folder or an MCAP file"),
            DeclareLaunchArgument("rate", default_value="1.0", description="2.0 plays twice as fast"),
            DeclareLaunchArgument(
                "delay_s", default_value="10.0", description="Seconds from the start that the stack is given to come up"
            ),
            stack,
            TimerAction(period=LaunchConfiguration("delay_s"), actions=[bag]),
        ]
    )
