"""The launch files, evaluated on the real `launch` where it is installed, else on its stand-in."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

if importlib.util.find_spec("launch_ros") is None:
    sys.path.append(str(Path(__file__).parent / "launch_standin"))

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
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
from lifecycle_msgs.msg import Transition, TransitionEvent

from lidarloop_ros.params import DetectorParams, NodeParams
from lidarloop_ros.self_label_params import SelfLabelParams

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


@dataclasses.dataclass
class Launched:
    """What a description comes to with its arguments: the node and its command line."""

    context: LaunchContext
    description: LaunchDescription
    node: LifecycleNode
    arguments: list[str]

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

    def answers_to(self, event: Any) -> list[Action]:
        """What the description's handlers do when `event` happens."""
        registered = [e.event_handler for e in self.description.entities if isinstance(e, RegisterEventHandler)]
        return [
            action for handler in registered if handler.matches(event) for action in handler.handle(event, self.context)
        ]


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
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument | SetEnvironmentVariable | OpaqueFunction):
            entity.visit(context)
    nodes = [entity for entity in description.entities if isinstance(entity, LifecycleNode)]
    (node,) = (node for node in nodes if node.node_executable == executable)
    # Private, but the only way to the command line without starting it.
    node._perform_substitutions(context)
    parts = [part for part in node.cmd[1:] if not isinstance(part[0], LocalSubstitution)]
    return Launched(context, description, node, [perform_substitutions(context, part) for part in parts])


def test_starts_the_detector_with_its_defaults(launch_file: ModuleType, repository: Path) -> None:
    launched = evaluate(launch_file, model="/models/town.onnx")

    assert (launched.node.node_package, launched.node.node_executable) == ("lidarloop_ros", "lidar_detector")
    assert launched.node.node_name == "/lidar_detector"
    assert launched.parameters["model"] == "/models/town.onnx"
    assert launched.parameters["use_sim_time"] is False
    assert dict(launched.node.expanded_remapping_rules) == {
        "~/input/points": "lidar/points",
        "~/input/odometry": "odom",
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
    }
    assert launched.arguments[:3] == ["--ros-args", "--log-level", "debug"]


def test_sets_the_fast_dds_profile(launch_file: ModuleType, repository: Path) -> None:
    launched = evaluate(launch_file, model="a.onnx")
    profile = str(repository / "launch" / "config" / "fastdds.xml")
    assert [launched.context.environment[variable] for variable in PROFILE_VARIABLES] == [profile, profile]


def test_keeps_a_profile_of_the_users_own(launch_file: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/etc/mine.xml")
    launched = evaluate(launch_file, model="a.onnx")
    assert launched.context.environment["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/etc/mine.xml"


def test_configures_and_then_activates(launch_file: ModuleType) -> None:
    launched = evaluate(launch_file, model="a.onnx")

    action, _ = launched.answers_to(started(launched.node))
    assert action.event.lifecycle_node_matcher(launched.node)
    assert action.event.transition_id == Transition.TRANSITION_CONFIGURE

    (action,) = launched.answers_to(transition(launched.node, "configuring", "inactive"))
    assert action.event.lifecycle_node_matcher(launched.node)
    assert action.event.transition_id == Transition.TRANSITION_ACTIVATE


@pytest.mark.parametrize("ends_with", ["heard", "dead"])
def test_asks_to_configure_until_the_node_is_heard_or_dead(launch_file: ModuleType, ends_with: str) -> None:
    launched = evaluate(launch_file, model="a.onnx", use_respawn="true")
    events = {"heard": transition(launched.node, "unconfigured", "configuring"), "dead": exited(launched.node)}

    for _ in range(2):  # The second process is a respawned one.
        answers = launched.answers_to(started(launched.node))
        for _ in range(3):
            action, timer = answers
            assert action.event.transition_id == Transition.TRANSITION_CONFIGURE
            assert isinstance(timer, TimerAction)
            (ask_again,) = timer.actions
            answers = ask_again.execute(launched.context)

        (stop_asking,) = launched.answers_to(events[ends_with])
        stop_asking.execute(launched.context)
        assert ask_again.execute(launched.context) == []


@pytest.mark.parametrize(
    ("start", "goal"),
    [("deactivating", "inactive"), ("configuring", "unconfigured"), ("activating", "active")],
)
def test_leaves_the_operators_own_transitions_alone(launch_file: ModuleType, start: str, goal: str) -> None:
    launched = evaluate(launch_file, model="a.onnx")
    assert launched.answers_to(transition(launched.node, start, goal)) == []


def test_other_nodes_do_not_trigger_it(launch_file: ModuleType) -> None:
    launched, other = evaluate(launch_file, model="a.onnx"), evaluate(launch_file, model="b.onnx")
    assert launched.answers_to(transition(other.node, "configuring", "inactive")) == []


def test_handlers_are_registered_before_the_node_starts(launch_file: ModuleType) -> None:
    entities = launch_file.generate_launch_description().entities
    kinds = [type(entity) for entity in entities]
    for number, position in enumerate((i for i, kind in enumerate(kinds) if kind is LifecycleNode), 1):
        assert kinds[:position].count(RegisterEventHandler) == 4 * number
        assert SetEnvironmentVariable not in kinds[position:]


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
        "~/input/lane_map": "lane_map",
        "~/input/detections": "lidar_detector/detections",
    }
    assert str(repository / "launch" / "config" / "self_labeller.yaml") in launched.arguments
    (action,) = launched.answers_to(transition(launched.node, "configuring", "inactive"))
    assert action.event.transition_id == Transition.TRANSITION_ACTIVATE


def test_the_self_labeller_starts_alone(repository: Path) -> None:
    launched = evaluate(load(repository / "launch" / "self_label.launch.py"), "self_labeller", use_sim_time="true")
    assert launched.parameters["use_sim_time"] is True
    assert launched.parameters["recipe"] == "full"
    assert launched.node.condition is None


def test_rviz_is_started_only_when_asked_for(launch_file: ModuleType) -> None:
    for asked in ("true", "false"):
        launched = evaluate(launch_file, model="a.onnx", rviz=asked)
        (rviz,) = (e for e in launched.description.entities if type(e) is NodeAction)
        assert rviz.node_package == "rviz2"
        assert rviz.condition.evaluate(launched.context) == (asked == "true")


def test_replay_plays_the_bag_on_its_own_clock_and_ends_with_it(repository: Path) -> None:
    description = load(repository / "launch" / "replay.launch.py").generate_launch_description()
    context = LaunchContext()
    context.launch_configurations.update(bag="drive.mcap", model="a.onnx")
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
    include, timer = description.entities[-2:]
    assert isinstance(include, IncludeLaunchDescription)
    assert dict(include.launch_arguments) == {"use_sim_time": "true"}
    included = include.launch_description_source.get_launch_description(context)
    assert any(isinstance(entity, LifecycleNode) for entity in included.entities)
    (bag,) = timer.actions
    command = [perform_substitutions(context, part) for part in bag.cmd]
    assert command == ["ros2", "bag", "play", "drive.mcap", "--clock", "--rate", "1.0"]


def test_refuses_a_params_file_that_is_not_there(launch_file: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="params_file: received"):
        evaluate(launch_file, model="a.onnx", params_file=str(tmp_path / "typo.yaml"))


def test_every_argument_is_described(launch_file: ModuleType) -> None:
    declared = [e for e in launch_file.generate_launch_description().entities if isinstance(e, DeclareLaunchArgument)]
    assert {argument.name for argument in declared} == {
        "model",
        "params_file",
        "points_topic",
        "odometry_topic",
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
def test_params_file_says_every_parameter_with_its_default(
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
