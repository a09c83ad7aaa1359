"""Starts the LiDAR detector and brings it up: configured, warmed up, active.

    ros2 launch lidarloop_bringup perception.launch.py model:=/path/to/model.onnx
    ros2 launch launch/perception.launch.py model:=models/pillar-toytown.onnx points_topic:=/velodyne_points

The Fast DDS profile is set for every process started from here on. The LiDAR driver publishes the clouds, so it needs
the profile too: start it after this file in the same launch, or export the variable for it (see config/fastdds.xml).
"""

from __future__ import annotations

from pathlib import Path

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import matches_action
from launch.events.process import ProcessStarted
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

# Humble and Jazzy read the first, Kilted and later the second.
FAST_DDS_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")

# Longer than the node needs to start.
ASK_AGAIN_AFTER_S = 5.0


def config_folder() -> Path:
    """The package's config folder: beside this file in the sources, one level up where it is installed."""
    here = Path(__file__).resolve().parent
    return here / "config" if (here / "config").is_dir() else here.parent / "config"


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    detector = LifecycleNode(
        package="lidarloop_ros",
        executable="lidar_detector",
        name="lidar_detector",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "model": ParameterValue(LaunchConfiguration("model"), value_type=str),
                "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
            },
        ],
        remappings=[
            ("~/input/points", LaunchConfiguration("points_topic")),
            ("~/input/odometry", LaunchConfiguration("odometry_topic")),
        ],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        output="screen",
    )
    return LaunchDescription(
        [
            *launch_arguments(),
            OpaqueFunction(function=refuse_missing_params_file),
            *(set_fast_dds_profile(variable) for variable in FAST_DDS_PROFILE_VARIABLES),
            # The handlers come before the node, or its start could be missed.
            *BringUp(detector).handlers(),
            detector,
        ]
    )


def launch_arguments() -> list[DeclareLaunchArgument]:
    """The arguments, named as in Nav2 where it has them."""
    return [
        DeclareLaunchArgument("model", description="Model file (.onnx) as `lidarloop export` wrote it"),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(config_folder() / "detector.yaml"),
            description="Parameters of the node; the arguments `model` and `use_sim_time` stand above it",
        ),
        DeclareLaunchArgument(
            "points_topic", default_value="lidar/points", description="Clouds: sensor_msgs/PointCloud2"
        ),
        DeclareLaunchArgument(
            "odometry_topic", default_value="odom", description="Ego-motion for sweep merging: nav_msgs/Odometry"
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics"),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", description="Take time from /clock (simulation, bag replay)"
        ),
        DeclareLaunchArgument(
            "self_labelling",
            default_value="false",
            choices=["false"],
            description="Reserved for the self-labelling node, which does not exist yet",
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
        DeclareLaunchArgument(
            "use_respawn", default_value="false", description="Start the node again when it dies, and bring it up again"
        ),
    ]


def refuse_missing_params_file(context: LaunchContext) -> None:
    """launch itself would only warn, and the node would run with its defaults."""
    path = Path(LaunchConfiguration("params_file").perform(context))
    if not path.is_file():
        raise RuntimeError(f"params_file: received {path}, which is no file; expected a YAML like config/detector.yaml")


def set_fast_dds_profile(variable: str) -> SetEnvironmentVariable:
    """Point Fast DDS to the profile that lets large clouds through; a user's own profile stays."""
    profile = str(config_folder() / "fastdds.xml")
    return SetEnvironmentVariable(variable, EnvironmentVariable(variable, default_value=profile))


class BringUp:
    """Configures a node whenever its process has started, until it is heard to do so; then activates it.

    A request to change state is lost without a word when it reaches a process that was just killed (DDS gives that up
    only some 20 s later, so its services seem to be there), or a new one that has not yet discovered the asking side.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._is_asking = False

    def handlers(self) -> list[RegisterEventHandler]:
        """To be registered before the node starts."""
        stop_asking = OpaqueFunction(function=self._stop_asking)
        started = OnProcessStart(target_action=self._node, on_start=self._start)
        ended = OnProcessExit(target_action=self._node, on_exit=[stop_asking])
        heard = OnStateTransition(target_lifecycle_node=self._node, goal_state="configuring", entities=[stop_asking])
        configured = OnStateTransition(
            target_lifecycle_node=self._node,
            # Not from `deactivating`: who deactivates the node wants it inactive.
            start_state="configuring",
            goal_state="inactive",
            entities=[self._ask_for(Transition.TRANSITION_ACTIVATE)],
        )
        return [RegisterEventHandler(handler) for handler in (started, ended, heard, configured)]

    def _start(self, event: ProcessStarted, context: LaunchContext) -> list[Action]:
        self._is_asking = True
        return self._ask(context)

    def _ask(self, context: LaunchContext) -> list[Action]:
        if not self._is_asking:
            return []
        again = TimerAction(period=ASK_AGAIN_AFTER_S, actions=[OpaqueFunction(function=self._ask)])
        return [self._ask_for(Transition.TRANSITION_CONFIGURE), again]

    def _stop_asking(self, context: LaunchContext) -> None:
        self._is_asking = False

    def _ask_for(self, transition_id: int) -> EmitEvent:
        matcher = matches_action(self._node)
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matcher, transition_id=transition_id))
