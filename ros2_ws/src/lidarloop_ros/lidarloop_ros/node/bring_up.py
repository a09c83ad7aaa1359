"""What lidarloop's launch files share: arguments, the Fast DDS profile, and nodes that are brought up by events.

Imported by `ros2 launch` alone; the nodes do not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from launch import Action, LaunchContext
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events.process import ProcessStarted
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.actions import Node as NodeAction
from launch_ros.event_handlers import OnStateTransition
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.ros_adapters import get_ros_node
from launch_ros.substitutions import ExecutableInPackage
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

from lidarloop_core.errors import ConfigError
from lidarloop_core.fast_dds import profile_in_use, profile_variables
from lidarloop_core.machine import ros_distro
from lidarloop_ros.node.params_file import parameters_for

ASK_AGAIN_AFTER_S = 1.0
RESPAWN_DELAY_S = 2.0

# What launch accepts for a boolean, in a condition and in a value alike.
SWITCH_VALUES = ["true", "false", "True", "False", "1", "0"]
LOG_LEVELS = ["debug", "info", "warn", "error", "fatal"]

INPUTS = {
    "~/input/points": "points_topic",
    "~/input/odometry": "odometry_topic",
    "~/input/pose": "pose_topic",
    "~/input/twist": "twist_topic",
    "~/input/imu": "imu_topic",
}
"""Private topic that every node subscribes to → launch argument that names the topic it is connected to."""


def config_folder(launch_file: str) -> Path:
    """The package's config folder: beside the launch file in the sources, one level up where it is installed."""
    here = Path(launch_file).resolve().parent
    return here / "config" if (here / "config").is_dir() else here.parent / "config"


def switch(name: str, description: str) -> DeclareLaunchArgument:
    """A launch argument that is true or false, by default false."""
    return DeclareLaunchArgument(name, default_value="false", choices=SWITCH_VALUES, description=description)


def model_argument() -> DeclareLaunchArgument:
    """The launch argument without a default: the model file."""
    return DeclareLaunchArgument("model", description="Model file (.onnx) as `lidarloop export` wrote it")


def common_arguments() -> list[DeclareLaunchArgument]:
    """Launch arguments of every node, named as in Nav2 where Nav2 has them."""
    return [
        DeclareLaunchArgument(
            "points_topic", default_value="lidar/points", description="Clouds: sensor_msgs/PointCloud2"
        ),
        DeclareLaunchArgument("odometry_topic", default_value="odom", description="Ego-motion: nav_msgs/Odometry"),
        DeclareLaunchArgument("pose_topic", default_value="pose", description="For `motion_source: pose`"),
        DeclareLaunchArgument("twist_topic", default_value="twist", description="For `motion_source: twist`"),
        DeclareLaunchArgument("imu_topic", default_value="imu", description="For `motion_source: twist_imu`"),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes and their topics"),
        switch("use_sim_time", "Take time from /clock (simulation, bag replay)"),
        DeclareLaunchArgument(
            "log_level", default_value="info", choices=LOG_LEVELS, description="How much the nodes write to the log"
        ),
        switch("use_respawn", "Start a node again when it dies, and bring it up again"),
    ]


def labelling_arguments(params_file: Path) -> list[DeclareLaunchArgument]:
    """Launch arguments of the self-labeller alone; ``params_file`` is its default parameter file."""
    return [
        DeclareLaunchArgument(
            "self_label_params_file",
            default_value=str(params_file),
            description="Parameters of the self-labeller: cameras, mask model, folder of kept frames",
        ),
        DeclareLaunchArgument(
            "lane_map_topic", default_value="lane_map", description="Latched lane map for yaws: std_msgs/String, JSON"
        ),
        DeclareLaunchArgument(
            "detections_topic",
            default_value="lidar_detector/detections",
            description="Detections that labels are compared with, to find frames worth keeping",
        ),
    ]


def self_labeller(condition: Any = None) -> list[Action]:
    """Actions that start the self-labeller and bring it up, where ``condition`` holds."""
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
        executable: name of an executable of lidarloop_ros, and of its node.
        parameters: name → value of the parameters that override the parameter file.
        remappings: private topic → launch argument that names the topic it is connected to.
        params_argument: launch argument that names the parameter file.
        condition: launch condition under which the node is started; None: always.
    """
    node = LifecycleNode(
        package="lidarloop_ros",
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration(params_argument), parameters | use_sim_time()],
        remappings=[(topic, LaunchConfiguration(argument)) for topic, argument in remappings.items()],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=RESPAWN_DELAY_S,
        output="screen",
        condition=condition,
    )
    check = OpaqueFunction(function=_RefuseUselessFile(params_argument, executable), condition=condition)
    return [check, *BringUp(node).handlers(), node]


def in_order(entities: Iterable[Action]) -> list[Action]:
    """Sorts a description so that processes come last; launch visits it in order.

    A failure ends the launch, but leaves the processes running that were started before it. So everything that can fail
    comes before them, as does everything that changes their environment or waits for their start.
    """
    entities = list(entities)
    processes = [entity for entity in entities if isinstance(entity, NodeAction)]
    others = [entity for entity in entities if entity not in processes]
    checks = [OpaqueFunction(function=_RefuseMissingExecutable(p), condition=p.condition) for p in processes]
    return [*others, *checks, *processes]


def text(argument: str) -> ParameterValue:
    """A launch argument as a parameter of type string, even where its value looks like a number."""
    return ParameterValue(LaunchConfiguration(argument), value_type=str)


def use_sim_time() -> dict[str, ParameterValue]:
    """The parameter ``use_sim_time``, which every node has."""
    return {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}


def number(argument: str, context: LaunchContext) -> float:
    """A launch argument as a number.

    Raises:
        RuntimeError: the value is not a number; launch itself would wait for ever.
    """
    value = LaunchConfiguration(argument).perform(context)
    try:
        return float(value)
    except ValueError:
        raise RuntimeError(f"{argument}: received {value!r}; expected a number") from None


def fast_dds_profile(config: Path) -> list[SetEnvironmentVariable]:
    """Makes Fast DDS load the profile in the folder ``config``, which lets large clouds through; a user's own stays."""
    profile = str(profile_in_use() or config / "fastdds.xml")
    return [
        SetEnvironmentVariable(variable, EnvironmentVariable(variable, default_value=profile))
        for variable in profile_variables(ros_distro())
    ]


class _RefuseUselessFile:
    """Ends the launch where a parameter file is missing, or sets nothing for its node, which would use its defaults."""

    def __init__(self, argument: str, node_name: str) -> None:
        self._argument = argument
        self._node_name = node_name

    def __call__(self, context: LaunchContext) -> None:
        path = Path(LaunchConfiguration(self._argument).perform(context))
        try:
            parameters_for(path, self._full_name(context))
        except ConfigError as error:
            raise RuntimeError(f"{self._argument}: received {error}") from None

    def _full_name(self, context: LaunchContext) -> str:
        """With the namespaces of the argument and of the groups around it, as launch_ros joins them."""
        own = LaunchConfiguration("namespace").perform(context)
        around = "" if own.startswith("/") else context.launch_configurations.get("ros_namespace", "")
        return "/" + "/".join(part.strip("/") for part in (around, own, self._node_name) if part.strip("/"))


class _RefuseMissingExecutable:
    """Ends the launch, with launch's own message, where an executable is not installed."""

    def __init__(self, process: NodeAction) -> None:
        self._executable = ExecutableInPackage(package=process.node_package, executable=process.node_executable)

    def __call__(self, context: LaunchContext) -> None:
        self._executable.perform(context)


class BringUp:
    """Configures a node whenever its process has started; activates it whenever it has been configured.

    A request is lost without an error when it reaches a process that was just killed (DDS gives that up only some 20 s
    later, so its services seem to be there), or a new one that has not yet discovered the client. So a harmless request
    is repeated until it is answered.

    launch_ros's `ChangeState` event does not suffice. It waits for each answer in one of asyncio's few threads, without
    a timeout: after some crashes no thread is left, and the node is never brought up again.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._services: _LifecycleServices | None = None
        self._is_asking = False

    def handlers(self) -> list[RegisterEventHandler]:
        """Event handlers, to be registered before the node starts."""
        started = OnProcessStart(target_action=self._node, on_start=self._start)
        ended = OnProcessExit(target_action=self._node, on_exit=[OpaqueFunction(function=self._stop_asking)])
        configured = OnStateTransition(
            target_lifecycle_node=self._node,
            # Not from `deactivating`: an operator who deactivates the node wants it inactive.
            start_state="configuring",
            goal_state="inactive",
            entities=[OpaqueFunction(function=self._activate)],
        )
        return [RegisterEventHandler(handler) for handler in (started, ended, configured)]

    def _start(self, event: ProcessStarted, context: LaunchContext) -> list[Action]:
        self._is_asking = True
        return self._ask(context)

    def _ask(self, context: LaunchContext) -> list[Action]:
        if not self._is_asking or context.is_shutdown:
            return []
        self._services_in(context).ask_for_state(self._answered)
        return [TimerAction(period=ASK_AGAIN_AFTER_S, actions=[OpaqueFunction(function=self._ask)])]

    def _answered(self, services: _LifecycleServices, state_id: int) -> None:
        if self._is_asking and state_id == State.PRIMARY_STATE_UNCONFIGURED:
            services.ask_for(Transition.TRANSITION_CONFIGURE)
        self._is_asking = False

    def _stop_asking(self, context: LaunchContext) -> None:
        self._is_asking = False

    def _activate(self, context: LaunchContext) -> None:
        if not context.is_shutdown:
            self._services_in(context).ask_for(Transition.TRANSITION_ACTIVATE)

    def _services_in(self, context: LaunchContext) -> _LifecycleServices:
        """The node's services. Made once it has started, when its name is known; unusable while launch shuts down."""
        if self._services is None:
            self._services = _LifecycleServices(get_ros_node(context), self._node.node_name)
        return self._services


class _LifecycleServices:
    """A node's lifecycle services, called without waiting for the answer."""

    def __init__(self, ros_node: Node, name: str) -> None:
        # DDS announces endpoints in order: a node that has answered with its state knows the other client too.
        self._change_state = ros_node.create_client(ChangeState, f"{name}/change_state")
        self._get_state = ros_node.create_client(GetState, f"{name}/get_state")

    def ask_for_state(self, answered: Callable[[_LifecycleServices, int], None]) -> None:
        """Asks for the state; the thread that spins `ros_node` calls `answered` with it, if an answer comes."""
        if self._get_state.service_is_ready():
            future = self._get_state.call_async(GetState.Request())
            future.add_done_callback(lambda done: answered(self, done.result().current_state.id))

    def ask_for(self, transition_id: int) -> None:
        """Asks for a transition; the node itself logs the outcome."""
        self._change_state.call_async(ChangeState.Request(transition=Transition(id=transition_id)))
