"""The launch files on the real `launch` and `launch_ros`: processes started, brought up, killed, interrupted."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python

from lidarloop_ros.node.fastdds import environment as fast_dds_environment
from lidarloop_ros.replay.node_process import ManagedNode, NodeProcess, isolated_node

_FOUND = importlib.util.find_spec("launch_ros")

pytestmark = pytest.mark.skipif(
    _FOUND is None or "launch_standin" in str(_FOUND.origin),
    reason="launch and launch_ros are not installed (they are on no package index; apt has them)",
)

# What `ros2 launch FILE NAME:=VALUE ...` does.
RUN = """
import os, sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

os.cpu_count = lambda: -3  # asyncio's pool has four threads more: one, so that none may wait for ever

file, *arguments = sys.argv[1:]
pairs = [argument.split(":=", 1) for argument in arguments]
include = IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=pairs)
service = LaunchService()
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""
VEHICLE = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace


def generate_launch_description():
    arguments = [("model", "{model}"), ("use_respawn", "true")]
    stack = IncludeLaunchDescription(PythonLaunchDescriptionSource("{perception}"), launch_arguments=arguments)
    return LaunchDescription([GroupAction([PushRosNamespace("front"), stack])])
"""
EXECUTABLES = {"lidar_detector": "lidarloop_ros.detector.node", "self_labeller": "lidarloop_ros.self_labeller.node"}
# launch's own arguments: how long it waits for a node to end before it sends the next, harsher signal. On a busy
# machine a node may take longer than the five seconds of the default, and it is the node's end that is awaited.
PATIENCE = {"sigterm_timeout": 120, "sigkill_timeout": 120}
ENDS_WITHIN_S = 120.0
DETECTOR = "/front/lidar_detector"


class Launched(NodeProcess):
    """A launch file at work, with what it has started."""

    def __init__(self, file: Path, node: Node, prefix: Path, **arguments: object) -> None:
        self.node = node
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        prefixes = [str(prefix), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])]
        environment = {name: value for name, value in os.environ.items() if name not in fast_dds_environment()}
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join(prefixes)
        environment["PATH"] = os.pathsep.join([str(prefix / "bin"), os.environ["PATH"]])
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                RUN,
                str(file),
                *(f"{name}:={value}" for name, value in {**arguments, **PATIENCE}.items()),
            ],
            cwd=prefix,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __exit__(self, *error: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        super().__exit__(*error)

    @property
    def log(self) -> str:
        return self.log_tail(1_000)

    def pids_of(self, executable: str) -> list[int]:
        """Of all its processes so far."""
        return [int(pid) for pid in re.findall(rf"\[{executable}-\d+\]: process started with pid \[(\d+)\]", self.log)]

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = 180.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.require_alive()
            if time.monotonic() > deadline:
                pytest.fail(f"no {what} within {timeout_s} s; log:\n{self.log}")
            time.sleep(0.02)

    def wait_until(self, state: str, name: str = DETECTOR) -> None:
        self.wait_for(
            lambda: self.ask(GetState, f"{name}/get_state").current_state.label == state, f"state {state} of {name}"
        )

    def parameters(self, *names: str) -> list[object]:
        """Of the detector."""
        answer = self.ask(GetParameters, f"{DETECTOR}/get_parameters", names=names)
        return [parameter_value_to_python(value) for value in answer.values]

    def ask(self, kind: Any, service: str, **request: object) -> Any:
        """Asks until there is an answer: a request is lost when it is sent too early, or to a process that is dead."""
        client = self.node.create_client(kind, service)
        answers: list[Any] = []

        def ask_once() -> bool:
            future = client.call_async(kind.Request(**request))
            deadline = time.monotonic() + 0.5
            while not future.done() and time.monotonic() < deadline:
                time.sleep(0.005)
            if future.done():
                answers.append(future.result())
            return bool(future.done())

        self.wait_for(ask_once, f"answer of {service}")
        self.node.destroy_client(client)
        return answers[0]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An install space with this checkout's nodes."""
    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "lidarloop_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    for name, module in EXECUTABLES.items():
        write_script(tmp_path / "lib" / "lidarloop_ros" / name, f'exec "{sys.executable}" -m {module} "$@"')
    return tmp_path


def write_script(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.fixture
def operator() -> Iterator[Node]:
    with isolated_node("operator") as node:
        yield node


@pytest.fixture
def launch(operator: Node, prefix: Path, repository: Path) -> Callable[..., Launched]:
    """``launch(file, **arguments)``, to be entered."""

    def start(file: str, **arguments: object) -> Launched:
        return Launched(repository / "launch" / file, operator, prefix, **arguments)

    return start


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def assert_ends_cleanly(launched: Launched, *executables: str) -> None:
    """By Ctrl-C at the terminal, which goes to the nodes and to launch, which passes it on to the nodes again."""
    pids = [launched.pids_of(name)[-1] for name in executables]
    os.killpg(launched.pid, signal.SIGINT)
    assert launched.wait(ENDS_WITHIN_S) == 0, launched.log
    assert "Traceback" not in launched.log
    assert launched.log.count("process has finished cleanly") == len(executables), launched.log
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_brings_the_detector_up_and_ends_it_cleanly(
    launch: Callable[..., Launched], operator: Node, repository: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    params_file = tmp_path / "mine.yaml"
    params_file.write_text("/**:\n  lidar_detector:\n    ros__parameters:\n      score_threshold: 0.625\n")
    with launch(
        "perception.launch.py",
        model=make_model(),
        namespace="front",
        params_file=params_file,
        points_topic="/velodyne_points",
        use_sim_time="true",
        log_level="warn",
    ) as launched:
        launched.wait_until("active")

        names = ("model", "score_threshold", "use_sim_time")
        assert launched.parameters(*names) == [str(make_model()), 0.625, True]
        launched.wait_for(lambda: operator.count_subscribers("/velodyne_points"), "subscriber of the clouds")
        (pid,) = launched.pids_of("lidar_detector")
        profile = dict.fromkeys(fast_dds_environment(), str(repository / "launch" / "config" / "fastdds.xml"))
        assert profile.items() <= environment_of(pid).items()
        assert "[INFO] [1" not in launched.log  # the node's own lines have a stamp
        assert_ends_cleanly(launched, "lidar_detector")


def test_brings_it_up_again_after_every_crash(launch: Callable[..., Launched], make_model: Callable[..., Path]) -> None:
    with launch("perception.launch.py", model=make_model(), namespace="front", use_respawn="true") as launched:
        for num_started in (1, 2, 3):
            launched.wait_for(lambda: len(launched.pids_of("lidar_detector")) == num_started, "process")  # noqa: B023
            launched.wait_until("active")
            os.kill(launched.pids_of("lidar_detector")[-1], signal.SIGKILL)


def test_a_model_that_cannot_be_used_leaves_the_node_alive_until_it_is_mended(
    launch: Callable[..., Launched], operator: Node, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    model = tmp_path / "late.onnx"
    with launch("perception.launch.py", model=model, namespace="front", use_respawn="true") as launched:
        launched.wait_for(lambda: f"not configured: {model} cannot be read" in launched.log, "reason")
        launched.wait_until("unconfigured")

        shutil.copy(make_model(), model)
        ManagedNode(operator, launched, DETECTOR).configure()
        launched.wait_until("active")
        assert_ends_cleanly(launched, "lidar_detector")


def test_two_namespaces_do_not_disturb_each_other(
    launch: Callable[..., Launched], make_model: Callable[..., Path]
) -> None:
    with (
        launch("perception.launch.py", model=make_model(), namespace="front") as front,
        launch("perception.launch.py", model=make_model(), namespace="rear") as rear,
    ):
        front.wait_until("active")
        rear.wait_until("active", "/rear/lidar_detector")
        assert_ends_cleanly(front, "lidar_detector")
        rear.wait_until("active", "/rear/lidar_detector")
        assert "refused" not in front.log + rear.log
        assert_ends_cleanly(rear, "lidar_detector")


def test_is_included_by_a_vehicles_own_launch_file(
    operator: Node, prefix: Path, repository: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    """In a group with a namespace of its own, whose arguments are gone by the time a node is started again."""
    file = tmp_path / "vehicle.launch.py"
    file.write_text(VEHICLE.format(perception=repository / "launch" / "perception.launch.py", model=make_model()))
    with Launched(file, operator, prefix) as launched:
        launched.wait_until("active")
        os.kill(launched.pids_of("lidar_detector")[-1], signal.SIGKILL)
        launched.wait_for(lambda: len(launched.pids_of("lidar_detector")) == 2, "second process")
        launched.wait_until("active")
        assert fast_dds_environment().keys() <= environment_of(launched.pids_of("lidar_detector")[-1]).keys()
        assert_ends_cleanly(launched, "lidar_detector")


@pytest.mark.parametrize(
    ("file", "executables"),
    [("perception.launch.py", ["lidar_detector", "self_labeller"]), ("self_label.launch.py", ["self_labeller"])],
)
def test_brings_the_self_labeller_up(
    launch: Callable[..., Launched],
    tmp_path: Path,
    make_model: Callable[..., Path],
    file: str,
    executables: list[str],
) -> None:
    masks_file, params_file = tmp_path / "masks.json", tmp_path / "mine.yaml"
    masks_file.write_text(
        json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "car"}]}), encoding="utf-8"
    )
    params_file.write_text(
        "/**:\n  self_labeller:\n    ros__parameters:\n      mask_model: masks\n"
        f"      image_topics: [/camera/cam_front/image/compressed]\n      masks_file: {masks_file}\n"
    )
    arguments = {"self_label_params_file": params_file, "namespace": "front"}
    if "lidar_detector" in executables:
        arguments |= {"model": make_model(), "self_labelling": "true"}
    with launch(file, **arguments) as launched:
        for executable in executables:
            launched.wait_until("active", f"/front/{executable}")
        assert_ends_cleanly(launched, *executables)


def test_what_is_refused_leaves_nothing_running(
    launch: Callable[..., Launched], tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    typo = tmp_path / "typo.yaml"
    with launch(
        "perception.launch.py", model=make_model(), self_labelling="true", self_label_params_file=typo
    ) as launched:
        assert launched.wait(ENDS_WITHIN_S) == 1
        assert f"self_label_params_file: received {typo}" in launched.log
        time.sleep(0.5)  # for what launch would have started all the same
        with pytest.raises(ProcessLookupError):
            os.killpg(launched.pid, 0)


def test_replay_plays_the_bag_to_the_stack_and_ends_with_it(
    launch: Callable[..., Launched], prefix: Path, repository: Path, make_model: Callable[..., Path]
) -> None:
    bag, played, end = prefix / "drive.mcap", prefix / "played", prefix / "end"
    bag.touch()
    # Plays the part of `ros2 bag`, until it is told to end.
    write_script(
        prefix / "bin" / "ros2",
        f'echo "$@" $FASTRTPS_DEFAULT_PROFILES_FILE > {played}; while [ ! -e {end} ]; do sleep 0.1; done',
    )
    with launch("replay.launch.py", bag=bag, model=make_model(), namespace="front", delay_s="0", rate="2") as launched:
        launched.wait_until("active")
        assert launched.parameters("use_sim_time") == [True]
        launched.wait_for(lambda: played.exists() and played.read_text(), "player")
        profile = repository / "launch" / "config" / "fastdds.xml"
        assert played.read_text().split() == ["bag", "play", str(bag), "--clock", "--rate", "2.0", str(profile)]
        end.touch()
        assert launched.wait(ENDS_WITHIN_S) == 0, launched.log
        assert launched.log.count("process has finished cleanly") == 2, launched.log
