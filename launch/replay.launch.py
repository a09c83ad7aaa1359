"""Plays a bag to the perception stack, on the bag's own clock. To score a bag, `lidarloop replay` is the shorter way.

    ros2 launch lidarloop_bringup replay.launch.py bag:=drive.mcap model:=/path/to/model.onnx rviz:=true

Every argument of perception.launch.py may be given as well. `ros2 bag` (ros2bag, rosbag2_storage_mcap) is required.
"""

from __future__ import annotations

from pathlib import Path

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
    TimerAction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from lidarloop_ros.node.bring_up import model_argument, number

PERCEPTION = Path(__file__).resolve().parent / "perception.launch.py"


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs. The stack comes last: a failure after a process has started leaves that one running."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="The bag: a folder or an MCAP file"),
            model_argument(),
            DeclareLaunchArgument("rate", default_value="1.0", description="2.0 plays twice as fast"),
            DeclareLaunchArgument(
                "delay_s", default_value="10.0", description="Seconds from the start until the bag is played"
            ),
            OpaqueFunction(function=play_the_bag),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(PERCEPTION)),
                # launch requires those without a default to be handed on; it finds the others by itself.
                launch_arguments=[("model", LaunchConfiguration("model")), ("use_sim_time", "true")],
            ),
        ]
    )


def play_the_bag(context: LaunchContext) -> list[Action]:
    """Plays the bag later, when the stack is up and the Fast DDS profile is set."""
    bag = LaunchConfiguration("bag").perform(context)
    if not Path(bag).exists():
        raise RuntimeError(f"bag: received {bag}, which does not exist; expected a folder or an MCAP file")
    play = ExecuteProcess(
        cmd=["ros2", "bag", "play", bag, "--clock", "--rate", str(number("rate", context))],
        output="screen",
        on_exit=Shutdown(reason="the bag has ended"),
    )
    return [TimerAction(period=number("delay_s", context), actions=[play])]
