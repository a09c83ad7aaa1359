"""The launch files, evaluated on the real `launch` where it is installed, else on its stand-in."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

if importlib.util.find_spec("launch_ros") is None:
    sys.path.append(str(Path(__file__).parent / "launch_standin"))

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    TimerAction,
)
from launch.events.process import ProcessExited, ProcessStarted
from launch.substitutions import LocalSubstitution
from launch.utilities import perform_substitutions
from launch_ros.actions import LifecycleNode
from launch_ros.actions import Node as NodeAction
from launch_ros.events.lifecycle import StateTransition
from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.task import Future

from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.node.params import NodeParams
from lidarloop_ros.self_labeller.params import SelfLabelParams

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


@dataclasses.dataclass
class Launched:
    """What a description comes to with its arguments: the node and its command line."""

    context: LaunchContext
    description: LaunchDescription
    node: LifecycleNode
    arguments: list[str]

    ros_node: RosNode

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the node, of all files, later ones above earlier ones."""
        pairs = zip(self.arguments, self.arguments[1:], strict=False)
        paths = [value for flag, value in pairs if flag == "--params-file"]
        merged: dict[str, Any] = {}
        for path in paths:
            for section in yaml.safe_load(Path(path).read_text()).values():
                section = section.get(self.node.node_executable, section)
                merged |= section["ros__parameters"]
        return merged

    def when(self, event: Any) -> list[Action]:
        """Does what the description's handlers do when `event` happens; gives what they put off."""
        registered = [e.event_handler for e in self.description.entities if isinstance(e, RegisterEventHandler)]
        actions = [
            action for handler in registered if handler.matches(event) for action in handler.handle(event, self.context)
        ]
        for action in actions:
            if isinstance(action, OpaqueFunction):
                action.execute(self.context)
        return [action for action in actions if not isinstance(action, OpaqueFunction)]

    def when_due(self, timers: list[Action]) -> list[Action]:
        (timer,) = timers
        assert isinstance(timer, TimerAction)
        (action,) = timer.actions
        due: list[Action] = action.execute(self.context)
        return due


class RosNode:
    """The ROS node of launch, and the lifecycle services that it finds."""

    def __init__(self) -> None:
        self.is_there = True
        self.asked_for: list[int] = []
        self.questions: list[Future] = []

    def create_client(self, kind: type, name: str) -> Any:
        ask = {ChangeState: self._change_state, GetState: self._get_state}[kind]
        self.name = name.rpartition("/")[0]
        return SimpleNamespace(call_async=ask, service_is_ready=lambda: self.is_there)

    def answer(self, question: Future, state_id: int) -> None:
        question.set_result(GetState.Response(current_state=State(id=state_id)))
        for callback in question._callbacks:  # an executor would call them
            callback(question)

    def _change_state(self, request: ChangeState.Request) -> Future:
        self.asked_for.append(request.transition.id)
        return Future()

    def _get_state(self, request: GetState.Request) -> Future:
        self.questions.append(Future())
        return self.questions[-1]


@pytest.fixture
def launch_file(repository: Path) -> ModuleType:
    return load(repository / "launch" / "perception.launch.py")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Evaluating a description changes os.environ, and leaves a parameter file behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for variable in PROFILE_VARIABLES:
        monkeypatch.setenv(variable, "to be restored")
        monkeypatch.delenv(variable)
    prefix = tmp_path / "installed"
    install(prefix, "lidarloop_ros", "lidar_detector", "self_labeller")
    install(prefix, "rviz2", "rviz2")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix))


def install(prefix: Path, package: str, *executables: str) -> None:
    """What the index of installed packages wants to see."""
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    folder = prefix / "lib" / package
    for path in (index, folder):
        path.mkdir(parents=True, exist_ok=True)
    (index / package).touch()
    for name in executables:
        (folder / name).touch(mode=0o755)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("perception_launch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def evaluate(launch_file: ModuleType, executable: str = "lidar_detector", **arguments: str) -> Launched:
    """Goes through the description in order, as launch does, but starts nothing; gives one of its nodes."""
    description = launch_file.generate_launch_description()
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    ros_node = RosNode()
    context.extend_globals({"ros_adapter": SimpleNamespace(ros_node=ros_node)})
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument | SetEnvironmentVariable | OpaqueFunction):
            entity.visit(context)
    nodes = [entity for entity in description.entities if isinstance(entity, NodeAction)]
    (node,) = (node for node in nodes if node.node_executable == executable)
    # Private, but the only way to the command line without starting it.
    node._perform_substitutions(context)
    parts = [part for part in node.cmd[1:] if not isinstance(part[0], LocalSubstitution)]
    return Launched(context, description, node, [perform_substitutions(context, part) for part in parts], ros_node)


def test_starts_the_detector_with_its_defaults(launch_file: ModuleType, repository: Path) -> None:
    launched = evaluate(launch_file, model="/models/town.onnx")

    assert (launched.node.node_package, launched.node.node_executable) == ("lidarloop_ros", "lidar_detector")
    assert launched.node.node_name == "/lidar_detector"
    assert launched.parameters["model"] == "/models/town.onnx"
    assert launched.parameters["use_sim_time"] is False
    assert dict(launched.node.expanded_remapping_rules) == {
        "~/input/points": "lidar/points",
        "~/input/odometry": "odom",
        "~/input/pose": "pose",
        "~/input/twist": "twist",
        "~/input/imu": "imu",
    }
    assert launched.arguments[:3] == ["--ros-args", "--log-level", "info"]
    assert str(repository / "launch" / "config" / "detector.yaml") in launched.arguments


def test_every_argument_arrives(launch_file: ModuleType, tmp_path: Path) -> None:
    params_file = tmp_path / "mine.yaml"
    params_file.write_text(
        "/**:\n  lidar_detector:\n    ros__parameters:\n      score_threshold: 0.6\n      model: other\n"
    )
    launched = evaluate(
        launch_file,
        model="a.onnx",
        params_file=str(params_file),
        namespace="front",
        points_topic="/velodyne_points",
        odometry_topic="/odometry/local",
        use_sim_time="true",
        log_level="debug",
    )

    assert launched.node.node_name == "/front/lidar_detector"
    assert launched.parameters == {
        "score_threshold": 0.6,
        "model": "a.onnx",
        "backend": "onnxruntime",
        "use_sim_time": True,
    }
    assert dict(launched.node.expanded_remapping_rules) == {
        "~/input/points": "/velodyne_points",
        "~/input/odometry": "/odometry/local",
        "~/input/pose": "pose",
        "~/input/twist": "twist",
        "~/input/imu": "imu",
    }
    assert launched.arguments[:3] == ["--ros-args", "--log-level", "debug"]


@pytest.mark.parametrize(
    ("distro", "variables"),
    [("humble", PROFILE_VARIABLES), ("jazzy", PROFILE_VARIABLES), ("kilted", PROFILE_VARIABLES[1:])],
)
def test_sets_the_fast_dds_profile(
    launch_file: ModuleType, repository: Path, monkeypatch: pytest.MonkeyPatch, distro: str, variables: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ROS_DISTRO", distro)
    launched = evaluate(launch_file, model="a.onnx")
    profile = str(repository / "launch" / "config" / "fastdds.xml")
    found = {variable: launched.context.environment.get(variable) for variable in PROFILE_VARIABLES}
    assert found == dict.fromkeys(PROFILE_VARIABLES) | dict.fromkeys(variables, profile)


@pytest.mark.parametrize("distro", ["jazzy", "kilted"])
@pytest.mark.parametrize("variable", PROFILE_VARIABLES)
def test_keeps_a_profile_of_the_users_own(
    launch_file: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, distro: str, variable: str
) -> None:
    monkeypatch.setenv("ROS_DISTRO", distro)
    (tmp_path / "mine.xml").write_text("<dds/>")
    monkeypatch.setenv(variable, str(tmp_path / "mine.xml"))
    launched = evaluate(launch_file, model="a.onnx")
    read = PROFILE_VARIABLES[distro == "kilted"]
    assert launched.context.environment[read] == str(tmp_path / "mine.xml")


def test_configures_and_then_activates(launch_file: ModuleType) -> None:
    launched = evaluate(launch_file, model="a.onnx", namespace="front")
    ros_node = launched.ros_node

    launched.when(started(launched.node))
    assert ros_node.name == "/front/lidar_detector"
    assert ros_node.asked_for == []
    ros_node.answer(ros_node.questions[0], State.PRIMARY_STATE_UNCONFIGURED)
    assert ros_node.asked_for == [Transition.TRANSITION_CONFIGURE]
    assert launched.when(transition(launched.node, "configuring", "inactive")) == []
    assert ros_node.asked_for == [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE]


def test_asks_until_the_node_answers_or_is_dead(launch_file: ModuleType) -> None:
    launched = evaluate(launch_file, model="a.onnx", use_respawn="true")
    ros_node = launched.ros_node

    again = launched.when(started(launched.node))
    for num_questions in (1, 2, 3):
        assert len(ros_node.questions) == num_questions
        again = launched.when_due(again)
    launched.when(exited(launched.node))
    assert launched.when_due(again) == []

    # The second process is a respawned one. Its services are not to be seen at first.
    ros_node.questions.clear()
    ros_node.is_there = False
    again = launched.when_due(launched.when(started(launched.node)))
    assert ros_node.questions == []
    ros_node.is_there = True
    again = launched.when_due(launched.when_due(again))
    for question in ros_node.questions:
        ros_node.answer(question, State.PRIMARY_STATE_UNCONFIGURED)
    assert ros_node.asked_for == [Transition.TRANSITION_CONFIGURE]
    assert launched.when_due(again) == []
    assert len(ros_node.questions) == 2


def test_a_node_that_somebody_else_has_configured_is_left_alone(launch_file: ModuleType) -> None:
    launched = evaluate(launch_file, model="a.onnx")
    again = launched.when(started(launched.node))
    launched.ros_node.answer(launched.ros_node.questions[0], State.PRIMARY_STATE_INACTIVE)
    assert launched.when_due(again) == []
    assert launched.ros_node.asked_for == []


@pytest.mark.parametrize(
    ("start", "goal"),
    [("deactivating", "inactive"), ("configuring", "unconfigured"), ("activating", "active")],
)
def test_leaves_the_operators_own_transitions_alone(launch_file: ModuleType, start: str, goal: str) -> None:
    launched = evaluate(launch_file, model="a.onnx")
    assert launched.when(transition(launched.node, start, goal)) == []
    assert launched.ros_node.asked_for == []


def test_other_nodes_do_not_trigger_it(launch_file: ModuleType) -> None:
    launched, other = evaluate(launch_file, model="a.onnx"), evaluate(launch_file, model="b.onnx")
    launched.when(transition(other.node, "configuring", "inactive"))
    assert launched.ros_node.asked_for == []


@pytest.mark.parametrize("file", ["perception.launch.py", "self_label.launch.py"])
def test_nothing_that_can_fail_comes_after_the_first_process(repository: Path, file: str) -> None:
    """launch would leave it running. Handlers must be there before it, or its start could be missed."""
    kinds = [type(entity) for entity in load(repository / "launch" / file).generate_launch_description().entities]
    are_processes = [issubclass(kind, NodeAction) for kind in kinds]
    assert any(are_processes)
    assert are_processes == sorted(are_processes)


@pytest.mark.parametrize("package", ["lidarloop_ros", "rviz2"])
def test_refuses_what_is_not_installed(launch_file: ModuleType, tmp_path: Path, package: str) -> None:
    (tmp_path / "installed/share/ament_index/resource_index/packages" / package).unlink()
    with pytest.raises(LookupError, match=package):
        evaluate(launch_file, model="a.onnx", rviz="true")


@pytest.mark.parametrize("argument", ["rviz", "self_labelling", "use_sim_time", "use_respawn", "log_level"])
def test_refuses_a_value_that_is_none_of_those_known(launch_file: ModuleType, argument: str) -> None:
    with pytest.raises(RuntimeError, match=argument):
        evaluate(launch_file, model="a.onnx", **{argument: "perhaps"})


def test_needs_a_model(launch_file: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="model"):
        evaluate(launch_file)


def test_self_labelling_is_started_only_when_asked_for(launch_file: ModuleType, repository: Path) -> None:
    for asked in ("true", "false"):
        launched = evaluate(launch_file, "self_labeller", model="a.onnx", self_labelling=asked, namespace="front")
        assert launched.node.condition.evaluate(launched.context) == (asked == "true")
    assert launched.node.node_name == "/front/self_labeller"
    assert dict(launched.node.expanded_remapping_rules) == {
        "~/input/points": "lidar/points",
        "~/input/odometry": "odom",
        "~/input/pose": "pose",
        "~/input/twist": "twist",
        "~/input/imu": "imu",
        "~/input/lane_map": "lane_map",
        "~/input/detections": "lidar_detector/detections",
    }
    assert str(repository / "launch" / "config" / "self_labeller.yaml") in launched.arguments
    launched.when(transition(launched.node, "configuring", "inactive"))
    assert launched.ros_node.asked_for == [Transition.TRANSITION_ACTIVATE]
    assert launched.ros_node.name == "/front/self_labeller"


def test_the_self_labeller_starts_alone(repository: Path) -> None:
    launched = evaluate(load(repository / "launch" / "self_label.launch.py"), "self_labeller", use_sim_time="true")
    assert launched.parameters["use_sim_time"] is True
    assert launched.parameters["recipe"] == "full"
    assert launched.node.condition is None


def test_rviz_is_started_only_when_asked_for(launch_file: ModuleType) -> None:
    for asked in ("true", "false"):
        launched = evaluate(launch_file, "rviz2", model="a.onnx", rviz=asked)
        assert launched.node.node_package == "rviz2"
        assert launched.node.condition.evaluate(launched.context) == (asked == "true")


def test_rviz_shows_the_topics_of_the_arguments(launch_file: ModuleType, repository: Path) -> None:
    launched = evaluate(
        launch_file, "rviz2", model="a.onnx", rviz="true", namespace="front", points_topic="/top", use_sim_time="true"
    )
    layout = repository / "launch" / "rviz" / "perception.rviz"
    assert launched.arguments[:2] == ["-d", str(layout)]
    assert launched.node.node_name.startswith("/front/")
    assert launched.parameters == {"use_sim_time": True}
    displays = yaml.safe_load(layout.read_text())["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    rules = dict(launched.node.expanded_remapping_rules)
    assert rules == {
        "/lidar/points": "/top",
        "/lidar_detector/markers": "lidar_detector/markers",
        "/lidar_detector/points/labelled": "lidar_detector/points/labelled",
    }
    assert shown == set(rules)


def evaluate_replay(repository: Path, **arguments: str) -> tuple[LaunchContext, LaunchDescription, TimerAction]:
    """Goes through replay.launch.py; gives what it includes, and what it does later."""
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    entities = load(repository / "launch" / "replay.launch.py").generate_launch_description().entities
    timer, *included = [action for entity in entities for action in entity.visit(context) or ()]
    assert isinstance(timer, TimerAction)
    *settings, stack = included
    for setting in settings:
        setting.visit(context)
    assert isinstance(stack, LaunchDescription)
    return context, stack, timer


def test_replay_plays_the_bag_on_its_own_clock_and_ends_with_it(repository: Path, tmp_path: Path) -> None:
    context, stack, timer = evaluate_replay(repository, bag=str(tmp_path), model="a.onnx", rate="2")
    assert any(isinstance(entity, LifecycleNode) for entity in stack.entities)
    assert context.launch_configurations["use_sim_time"] == "true"
    assert context.launch_configurations["model"] == "a.onnx"
    (bag,) = timer.actions
    command = [perform_substitutions(context, part) for part in bag.cmd]
    assert command == ["ros2", "bag", "play", str(tmp_path), "--clock", "--rate", "2.0"]


@pytest.mark.parametrize(("argument", "value"), [("rate", "fast"), ("delay_s", ""), ("bag", "typo.mcap")])
def test_replay_refuses_what_it_cannot_use(repository: Path, tmp_path: Path, argument: str, value: str) -> None:
    with pytest.raises(RuntimeError, match=f"{argument}: received"):
        evaluate_replay(repository, **{"bag": str(tmp_path), "model": "a.onnx", argument: value})


def test_refuses_a_params_file_that_is_not_there(launch_file: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="params_file: received"):
        evaluate(launch_file, model="a.onnx", params_file=str(tmp_path / "typo.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("other:\n  ros__parameters:\n    score_threshold: 0.6\n", "it names /other"),
        (
            "lidar_detector:\n  ros__parameters:\n    score_threshold: 0.6\n",
            "sets no parameter of /front/lidar_detector",
        ),
        ("score_threshold: 0.6\n", "ros__parameters"),
        ("/**:\n\tros__parameters:\n", "no YAML"),
    ],
)
def test_refuses_a_params_file_without_effect(launch_file: ModuleType, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RuntimeError, match=f"params_file: received .*{said}"):
        evaluate(launch_file, model="a.onnx", namespace="front", params_file=str(path))


def test_a_params_file_of_the_self_labeller_counts_only_when_it_is_started(
    launch_file: ModuleType, tmp_path: Path
) -> None:
    typo = str(tmp_path / "typo.yaml")
    evaluate(launch_file, model="a.onnx", self_label_params_file=typo)
    with pytest.raises(RuntimeError, match="self_label_params_file: received"):
        evaluate(launch_file, model="a.onnx", self_label_params_file=typo, self_labelling="true")


def test_every_argument_is_described(launch_file: ModuleType) -> None:
    declared = [e for e in launch_file.generate_launch_description().entities if isinstance(e, DeclareLaunchArgument)]
    assert {argument.name for argument in declared} == {
        "model",
        "params_file",
        "points_topic",
        "odometry_topic",
        "pose_topic",
        "twist_topic",
        "imu_topic",
        "namespace",
        "backend",
        "rviz",
        "lane_map_topic",
        "detections_topic",
        "self_label_params_file",
        "use_sim_time",
        "self_labelling",
        "log_level",
        "use_respawn",
    }
    assert all(argument.description for argument in declared)


@pytest.mark.parametrize(
    ("file", "node", "params", "required"),
    [
        ("detector.yaml", "lidar_detector", DetectorParams, {"model"}),
        ("self_labeller.yaml", "self_labeller", SelfLabelParams, set()),
    ],
)
def test_params_file_gives_every_parameter_its_default(
    repository: Path, file: str, node: str, params: type[NodeParams], required: set[str]
) -> None:
    """The file is the documentation that users copy: it may neither lag behind the node nor differ from it."""
    text = (repository / "launch" / "config" / file).read_text()
    written = yaml.safe_load(text)["/**"][node]["ros__parameters"]
    defaults = {field.name: field.default for field in dataclasses.fields(params)}
    assert all(f"# {name}:" in text for name in required)
    assert written == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in defaults.items()
        if name not in required
    }


def started(node: LifecycleNode) -> ProcessStarted:
    return ProcessStarted(action=node, name="lidar_detector", cmd=[], cwd=None, env=None, pid=1)


def exited(node: LifecycleNode) -> ProcessExited:
    return ProcessExited(action=node, name="lidar_detector", cmd=[], cwd=None, env=None, pid=1, returncode=-9)


def transition(node: LifecycleNode, start: str, goal: str) -> StateTransition:
    msg = TransitionEvent()
    msg.start_state.label, msg.goal_state.label = start, goal
    return StateTransition(action=node, msg=msg)
