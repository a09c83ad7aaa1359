"""Another model while the node runs: swapped between two frames, refused whole, and no frame lost either way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from std_srvs.srv import Trigger

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import boxes_from_cloud, stamp_ns
from lidarloop_core.model.model_file import write_model
from lidarloop_ros.replay.node_process import NodeError
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx, make_spec
from tests.ros.conftest import Robot
from tests.ros.networks import CLASS_NAMES

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
WARN = DiagnosticStatus.WARN
# The models' score is points / capacity: which one has answered shows in every frame.
POINTS = [[5.1, 3.1, 0.0, 10], [5.2, 3.2, 0.5, 20], [5.3, 3.3, 1.0, 30], [5.4, 3.4, 1.0, 30]]
OF_EIGHT, OF_SIXTEEN = 4 / 8, 4 / 16
ON_VOXELS = 1 - 5.25 / 50
"""That of a model on voxels is 1 − |mean x| / 50 m."""


class Stream:
    """Clouds, each sent when the one before is answered: a frame that is lost shows as one that never comes."""

    def __init__(self, robot: Robot, *, with_odometry: bool) -> None:
        self._robot = robot
        self._with_odometry = with_odometry
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.num_sent = 0
        self.failure: BaseException | None = None

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def wait_for_more(self, num_frames: int = 5) -> None:
        enough = self.num_sent + num_frames
        self._robot.wait_for(lambda: self.num_sent >= enough or self.failure is not None, "more frames")

    def _run(self) -> None:
        try:
            while not self._ends.is_set():
                stamp = T0 + self.num_sent * 100 * MS
                if self._with_odometry:
                    self._robot.send_odometry(stamp, SE3.identity())
                self._robot.ask(self._robot.cloud(POINTS, stamp))
                self.num_sent += 1
        except BaseException as error:
            self.failure = error


@contextmanager
def streaming(robot: Robot, *, with_odometry: bool = False) -> Iterator[Stream]:
    with Stream(robot, with_odometry=with_odometry) as stream:
        stream.wait_for_more()
        yield stream
    assert [stamp_ns(msg.header) for msg in robot.detections] == [T0 + i * 100 * MS for i in range(stream.num_sent)]


def load(robot: Robot) -> Trigger.Response:
    client = robot.node.create_client(Trigger, f"{robot.name}/load_model")
    # A first request could reach the node before its answer's way back is known; loading twice is harmless.
    robot.wait_for(client.service_is_ready, "the service")
    for _ in range(5):
        with suppress(NodeError):
            return robot.detector.call(client, Trigger.Request(), timeout_s=20.0)
        robot.process.require_alive()
    pytest.fail("~/load_model does not answer")


def scores(robot: Robot) -> list[float]:
    """The best score of each frame so far."""
    return [float(boxes_from_cloud(msg, CLASS_NAMES)[0].scores[0]) for msg in robot.box_clouds]


@pytest.mark.fault("model_swap")
def test_a_good_model_is_swapped_in_and_bad_ones_are_not(
    any_robot: Robot, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    robot = any_robot
    old, new = make_model(), make_model(name="sixteen", max_points_per_pillar=16)
    corrupt = tmp_path / "corrupt.onnx"
    data = bytearray(new.read_bytes())
    data[len(data) // 2] ^= 1
    corrupt.write_bytes(data)
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    segmenter, spec = tmp_path / "segmenter.onnx", make_spec(VOXEL_SEGMENTER, class_names=CLASS_NAMES)
    write_model(segmenter, by_intensity_onnx(spec), spec)
    robot.reconfigure(model=str(old))
    with streaming(robot) as stream:
        robot.detector.set_parameters({"model": str(new)})
        answer = load(robot)
        assert answer.success, answer.message
        stream.wait_for_more()
        before, after = scores(robot)[0], scores(robot)[-1]
        assert (before, after) == (OF_EIGHT, OF_SIXTEEN)
        switches = [a for a, b in zip(scores(robot), scores(robot)[1:], strict=False) if a != b]
        assert switches == [OF_EIGHT], "once, between two frames"

        for bad, said in (
            (corrupt, "corrupt.onnx"),
            (tmp_path / "missing.onnx", "missing.onnx"),
            (pipe, "expected a regular file"),
            (Path("/dev/zero"), "expected a regular file"),
            (make_model(class_names=("car", "barrier", "pedestrian")), "expected those of sixteen"),
            (segmenter, "is a model for segmentation; expected one for detection like sixteen"),
        ):
            robot.detector.set_parameters({"model": str(bad)})
            robot.status_where(lambda s: s.level == WARN and said in s.message, f"a WARN of {bad}")  # noqa: B023
            robot.wait_for(lambda: robot.detector.parameters()["model"] == str(new), "the parameter to go back")
            stream.wait_for_more()
            assert scores(robot)[-1] == OF_SIXTEEN, "the one in use goes on"
        answer = load(robot)
        assert answer.success, "the one in use may be loaded again"
        robot.status_where(lambda s: "model not taken" not in s.message, "the end of the WARN")


def test_the_new_model_goes_on_with_the_sweeps(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    robot = any_robot
    sweeps = {"num_sweeps": 3, "sweep_interval_s": 0.1}
    old, new = (make_model(max_points_per_pillar=capacity, **sweeps) for capacity in (16, 32))
    robot.send_static_transform("base_link", "lidar_top", SE3.identity())
    robot.reconfigure(model=str(old), motion_timeout_s=1.0)
    robot.wait_for_odometry_subscriber()
    with streaming(robot, with_odometry=True) as stream:
        robot.detector.set_parameters({"model": str(new)})
        assert load(robot).success
        stream.wait_for_more()
    of_one = len(POINTS)
    assert set(scores(robot)) == {of_one / 16, 2 * of_one / 16, 3 * of_one / 16, 3 * of_one / 32}
    assert sorted(scores(robot)[2:], reverse=True) == scores(robot)[2:], "three sweeps before the swap, and three after"


def test_models_on_pillars_and_on_voxels_take_each_others_place(
    any_robot: Robot, make_model: Callable[..., Path]
) -> None:
    """Of the same classes: no frame is lost, and the sweeps gathered so far change hands."""
    robot = any_robot
    sweeps = {"num_sweeps": 3, "sweep_interval_s": 0.1}
    pillars, voxels = make_model(max_points_per_pillar=16, **sweeps), make_model(on="voxels", **sweeps)
    robot.send_static_transform("base_link", "lidar_top", SE3.identity())
    robot.reconfigure(model=str(pillars), motion_timeout_s=1.0)
    robot.wait_for_odometry_subscriber()
    with streaming(robot, with_odometry=True) as stream:
        for model in (voxels, pillars):
            robot.detector.set_parameters({"model": str(model)})
            answer = load(robot)
            assert answer.success, answer.message
            stream.wait_for_more()
    of_three = 3 * len(POINTS) / 16
    seen = scores(robot)[2:]  # of three sweeps
    switches = [seen[0], *(after for before, after in pairwise(seen) if after != before)]
    assert switches == pytest.approx([of_three, ON_VOXELS, of_three])


def test_a_file_replaced_under_its_name_is_loaded_by_the_service(
    any_robot: Robot, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    robot = any_robot
    path = tmp_path / "model.onnx"
    path.write_bytes(make_model().read_bytes())
    robot.reconfigure(model=str(path))
    robot.ask(robot.cloud(POINTS, T0))
    path.write_bytes(make_model(name="sixteen", max_points_per_pillar=16).read_bytes())
    answer = load(robot)
    assert answer.success
    assert "→ sixteen" in answer.message
    robot.ask(robot.cloud(POINTS, T0 + 100 * MS))
    assert scores(robot) == [OF_EIGHT, OF_SIXTEEN]


def test_load_model_on_an_unconfigured_node_fails_with_the_reason(
    any_robot: Robot, make_model: Callable[..., Path]
) -> None:
    any_robot.reconfigure(model=str(make_model()))
    assert any_robot.detector.transition(Transition.TRANSITION_DEACTIVATE)
    assert any_robot.detector.transition(Transition.TRANSITION_CLEANUP)
    answer = load(any_robot)
    assert not answer.success
    assert "not configured" in answer.message
