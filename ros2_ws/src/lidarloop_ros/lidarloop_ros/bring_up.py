"""What lidarloop's launch files share: arguments, the Fast DDS profile, and nodes that are brought up by events.

For `ros2 launch`, which imports it; the nodes do not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch import Action, LaunchContext
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

# Longer than a node needs to start.
ASK_AGAIN_AFTER_S = 5.0
RESPAWN_DELAY_S = 2.0

INPUTS = {"~/input/points": "points_topic", "~/input/odometry": "odometry_topic"}
"""What every node listens to → the launch argument that names the topic."""


def config_folder(launch_file: str) -> Path:
    """The package's config folder: beside the launch file in the sources, one level up where it is installed."""
    here = Path(launch_file).resolve().parent
    return here / "config" if (here / "config").is_dir() else here.parent / "config"


def common_arguments() -> list[DeclareLaunchArgument]:
    """Arguments of every node, named as in Nav2 where it has them."""
    return [
        DeclareLaunchArgument(
            "points_topic", default_value="lidar/points", description="Clouds: sensor_msgs/PointCloud2"
        ),
        DeclareLaunchArgument("odometry_topic", default_value="odom", description="Ego-motion: nav_msgs/Odometry"),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes and their topics"),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", description="Take time from /clock (simulation, bag replay)"
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
        DeclareLaunchArgument(
            "use_respawn", default_value="false", description="Start a node again when it dies, and bring it up again"
        ),
    ]


def labelling_arguments(params_file: Path) -> list[DeclareLaunchArgument]:
    """Arguments of the self-labeller alone."""
    return [
        DeclareLaunchArgument(
            "self_label_params_file",
            default_value=str(params_file),
            description="Parameters of the self-labeller: cameras, 2D model, where frames are kept",
        ),
        DeclareLaunchArgument(
            "lane_map_topic", default_value="lane_map", description="Latched lane map for yaws: std_msgs/String, JSON"
        ),
        DeclareLaunchArgument(
            "detections_topic",
            default_value="lidar_detector/detections",
            description="What labels are held against to find frames worth keeping",
        ),
    ]


def self_labeller(condition: Any = None) -> list[Action]:
    """The self-labeller, brought up."""
    return lifecycle_node(
        "self_labeller",
        {},
        {**INPUTS, "~/input/lane_map": "lane_map_topic", "~/input/detections": "detections_topic"},
        params_argument="self_label_params_file",
        condition=condition,
    )


def lifecycle_node(
    executable: str,
    parameters: dict[str, Any],
    remappings: dict[str, str],
    *,
    params_argument: str = "params_file",
    condition: Any = None,
) -> list[Action]:
    """A lifecycle node that is configured and activated whenever its process has started.

    Args:
        executable: of lidarloop_ros; also the node's name.
        parameters: name → value of those that stand above the parameter file.
        remappings: private topic → launch argument that names the topic it is connected to.
        params_argument: launch argument that names the parameter file.
        condition: whether the node is started at all.
    """
    node = LifecycleNode(
        package="lidarloop_ros",
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration(params_argument),
            {**parameters, "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)},
        ],
        remappings=[(topic, LaunchConfiguration(argument)) for topic, argument in remappings.items()],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=RESPAWN_DELAY_S,
        output="screen",
        condition=condition,
    )
    # The handlers come before the node, or its start could be missed.
    return [OpaqueFunction(function=_RefuseMissingFile(params_argument)), *BringUp(node).handlers(), node]


def text(argument: str) -> ParameterValue:
    """A launch argument as a parameter that is text, whatever it looks like."""
    return ParameterValue(LaunchConfiguration(argument), value_type=str)


def fast_dds_profile(config: Path) -> list[SetEnvironmentVariable]:
    """Points Fast DDS to the profile that lets large clouds through; a user's own profile stays."""
    profile = str(config / "fastdds.xml")
    return [
        SetEnvironmentVariable(variable, EnvironmentVariable(variable, default_value=profile))
        for variable in FAST_DDS_PROFILE_VARIABLES
    ]


class _RefuseMissingFile:
    """launch itself would only warn, and the node would run with its defaults."""

    def __init__(self, argument: str) -> None:
        self._argument = argument

    def __call__(self, context: LaunchContext) -> None:
        path = Path(LaunchConfiguration(self._argument).perform(context))
        if not path.is_file():
            raise RuntimeError(
                f"{self._argument}: received {path}, which is no file; expected a YAML like those in config/"
            )


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
