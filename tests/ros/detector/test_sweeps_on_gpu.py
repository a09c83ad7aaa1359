"""`sweeps_on_gpu`: from PointCloud2 to boxes or labels the GPU's way finds what the host's finds, also in the node."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

from lidarloop_core.errors import BackendError, ConfigError
from lidarloop_core.geometry.iou import bev_iou
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.gpu.cuda import import_runtime
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels
from lidarloop_core.inference.tensorrt.backend import import_tensorrt
from lidarloop_core.io.messages import cloud_message
from lidarloop_core.model.model_file import write_model
from lidarloop_core.sample import Sweep
from lidarloop_ros.detector.loaded import make_pipeline, open_model
from lidarloop_ros.detector.node import LidarDetector
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.detector.pipeline import CloudPipeline, CloudResult
from lidarloop_ros.inputs.motion import MotionUnavailableError, SensorPose
from lidarloop_ros.inputs.motion_sources import NoMotion
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.replay.node_process import NodeProcess, isolated_node
from tests.core.gpu.fake_gpu import StandInGpu
from tests.core.gpu.sweep_drives import COLUMNS, drive
from tests.ros.conftest import Robot
from tests.ros.detector.gpu_node import put_in_place

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
STAGES = ["decode", "motion", "merge", "group", "infer", "postprocess"]
ON_GPU = DetectorParams(backend="tensorrt", sweeps_on_gpu=True, score_threshold=0.02)


class Poses(NoMotion):
    """Those of the sweeps that were sent, as far as they have one."""

    def __init__(self) -> None:
        self._known: dict[int, SensorPose] = {}

    def add(self, sweep: Sweep) -> None:
        if sweep.world_SE3_ego is not None:
            self._known[sweep.stamp_ns] = SensorPose(sweep.world_SE3_ego, sweep.ego_SE3_lidar)

    def locate(self, stamp_ns: int, frame_id: str) -> SensorPose:
        if stamp_ns not in self._known:
            raise MotionUnavailableError("nobody knows")
        return self._known[stamp_ns]


class Ways:
    """Two pipelines of one model on one kind of GPU, with the sweeps there and with the sweeps on the host."""

    def __init__(self, settings: DetectorParams) -> None:
        self.poses = Poses()
        self.on_gpu, self.on_host = (self.open(replaced) for replaced in (settings, on_the_host(settings)))

    def open(self, settings: DetectorParams) -> CloudPipeline:
        return make_pipeline(open_model(settings), self.poses, settings)

    def send(self, sweep: Sweep) -> tuple[CloudResult, CloudResult]:
        self.poses.add(sweep)
        return self.on_gpu.process(message(sweep)), self.on_host.process(message(sweep))


def on_the_host(settings: DetectorParams) -> DetectorParams:
    return dataclasses.replace(settings, sweeps_on_gpu=False)


def message(sweep: Sweep) -> PointCloud2:
    columns = {name: sweep.points[:, sweep.columns.index(name)] for name in COLUMNS}
    return cloud_message(columns, sweep.stamp_ns, "lidar_top", message_type)


@pytest.fixture(scope="module")
def model(repository: Path) -> str:
    return str(repository / "models/pillar-toytown.onnx")


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.gpu)])
def settings(
    request: pytest.FixtureRequest, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> DetectorParams:
    """For the GPU's way, where there is a GPU or what stands in for it."""
    if request.param == "stand-in":
        put_in_place(StandInGpu(tmp_path), monkeypatch)
    else:
        try:
            import_tensorrt()
            runtime = import_runtime()
        except BackendError as error:
            pytest.skip(str(error))
        if int(runtime.cudaSetDevice(0)[0]) != 0:
            pytest.skip("no CUDA device")
        monkeypatch.setenv("LIDARLOOP_ENGINE_CACHE", str(tmp_path))
    return dataclasses.replace(ON_GPU, model=model)


def assert_same(found: CloudResult, expected: CloudResult) -> None:
    assert list(found.stage_ms) == list(expected.stage_ms) == STAGES
    for field in dataclasses.fields(CloudResult):
        if field.name not in ("found", "stage_ms", "received", "newest_points", "world_SE3_lidar"):
            assert getattr(found, field.name) == getattr(expected, field.name), field.name
    np.testing.assert_array_equal(found.received.points, expected.received.points)
    np.testing.assert_array_equal(found.newest_points, expected.newest_points)
    assert (found.world_SE3_lidar is None) == (expected.world_SE3_lidar is None)
    assert type(found.found) is type(expected.found)
    if isinstance(found.found, PointLabels):
        assert isinstance(expected.found, PointLabels)
        np.testing.assert_array_equal(found.found.labels, expected.found.labels, strict=True)
        np.testing.assert_allclose(found.found.scores, expected.found.scores, atol=1e-3)
        return
    np.testing.assert_array_equal(found.boxes.labels, expected.boxes.labels)
    # The stand-in gives the same bits; of a real engine's this is not asked.
    np.testing.assert_allclose(found.boxes.scores, expected.boxes.scores, atol=1e-3)
    np.testing.assert_allclose(found.boxes.values, expected.boxes.values, atol=1e-2)


@pytest.mark.parametrize("max_points", [1_000_000, 4_500])
def test_the_same_frames(settings: DetectorParams, max_points: int) -> None:
    """A lost sweep, a cloud without a pose, a jump back, and clouds above the capacity."""
    ways = Ways(dataclasses.replace(settings, max_points=max_points))
    history = drive([0, 1, 2, 3, 5, 6, 7])
    history[5] = dataclasses.replace(history[5], world_SE3_ego=None)
    frames = []
    for sweep in [*history, *history[:2]]:
        if sweep is history[0]:
            ways.on_gpu.forget_sweeps()
            ways.on_host.forget_sweeps()
        found, expected = ways.send(sweep)
        assert_same(found, expected)
        frames.append(found)
    assert [frame.num_sweeps for frame in frames] == [1, 2, 3, 3, 2, 1, 2, 1, 2]
    assert [bool(frame.motion_problem) for frame in frames] == [i == 5 for i in range(9)]
    assert [frame.num_points for frame in frames[:4]] == [2000, 4001, 6003, 6006]
    said = "3001 of 6003 points left out: more than max_points" if max_points == 4_500 else ""
    assert frames[2].overflow == said
    assert sum(len(frame.boxes) for frame in frames) > 50


@pytest.mark.parametrize("max_points", [1_000_000, 4_500])
@pytest.mark.parametrize("spec_name", ["STREET", "STREET_POINTS"])
def test_the_same_frames_by_a_model_on_voxels(
    settings: DetectorParams, tmp_path: Path, spec_name: str, max_points: int
) -> None:
    """A detector and a segmenter, with room for three sweeps and without."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.core import voxel_network

    spec = getattr(voxel_network, spec_name)
    write_model(tmp_path / "voxels.onnx", voxel_network.voxel_network(spec), spec)
    ways = Ways(dataclasses.replace(settings, model=str(tmp_path / "voxels.onnx"), max_points=max_points))
    num_found = 0
    for sweep in drive(range(4)):
        found, expected = ways.send(sweep)
        assert_same(found, expected)
        answer = found.found
        num_found += np.count_nonzero(answer.labels != NO_LABEL) if isinstance(answer, PointLabels) else len(answer)
    assert found.num_sweeps == 3
    assert ("left out: more than max_points" in found.overflow) == (max_points == 4_500)
    assert num_found > 50


def test_a_cloud_processed_again_counts_once(settings: DetectorParams, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = Ways(settings)
    first, second, third = drive([0, 1, 2])
    ways.send(first)
    backend = ways.on_gpu.model.backend
    with monkeypatch.context() as failing:
        failing.setattr(backend, "infer_on_device", lambda *_: (_ for _ in ()).throw(BackendError("called up")))
        ways.poses.add(second)
        for _ in range(2):
            with pytest.raises(BackendError, match="called up"):
                ways.on_gpu.process(message(second))
    for sweep in (second, third):
        found, expected = ways.send(sweep)
        assert_same(found, expected)
    assert found.num_sweeps == 3


def test_thresholds_change_and_models_are_swapped_between_two_clouds(settings: DetectorParams) -> None:
    ways = Ways(settings)
    history = drive(range(6))
    for sweep in history[:3]:
        found, _ = ways.send(sweep)
    threshold = float(np.median(found.boxes.scores))
    for way in (ways.on_gpu, ways.on_host):
        way.model = Detector(way.model.backend, score_threshold=threshold)
    assert_same(*ways.send(history[3]))

    before, ways.on_gpu = ways.on_gpu, ways.open(settings)
    ways.on_gpu.adopt_sweeps(before)
    ways.on_host.model = Detector(ways.on_host.model.backend, score_threshold=0.02)
    for sweep in history[4:]:
        found, expected = ways.send(sweep)
        assert found.num_sweeps == 3, "the sweeps gathered so far have changed hands"
        assert_same(found, expected)


def test_the_toy_towns_objects_are_found(settings: DetectorParams) -> None:
    """Real motion, which float32 rounds: a point on a pillar's edge may change sides, and little else."""
    toytown = pytest.importorskip("lidarloop_training.toytown.drive", reason="lidarloop_training is not installed")
    ways = Ways(dataclasses.replace(settings, score_threshold=0.3))
    source = toytown.ToyTownDrive(7, duration_s=1.0, cameras=False)
    num_boxes = 0
    for i in range(5):
        keyframe = source[i].keyframe
        found, expected = ways.send(keyframe)
        num_boxes += len(expected.boxes)
        sure = expected.boxes[expected.boxes.scores > 0.35]
        is_same_class = sure.labels[:, None] == found.boxes.labels
        overlaps = bev_iou(sure.values, found.boxes.values) * is_same_class
        assert (overlaps.max(axis=1) > 0.9).all()
    assert found.num_sweeps == 3
    assert num_boxes > 20


def test_another_backend_is_refused(make_model: Callable[..., Path]) -> None:
    wrong = DetectorParams(model=str(make_model()), sweeps_on_gpu=True)
    with pytest.raises(
        ConfigError, match=r"'sweeps_on_gpu' received true with backend 'onnxruntime'; expected backend 'tensorrt'"
    ):
        open_model(wrong)


def test_cleaning_up_frees_the_gpus_memory(
    make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that of a model swapped out while the node is inactive, and of one that could not be configured."""
    gpu = StandInGpu(tmp_path)
    put_in_place(gpu, monkeypatch)
    model, other = (str(make_model(max_points_per_pillar=capacity)) for capacity in (16, 32))
    values = {"model": model, "backend": "tensorrt", "sweeps_on_gpu": True, "max_points": 5_000}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    with isolated_node("observer") as observer:
        node = LidarDetector(context=observer.context, parameter_overrides=overrides)
        try:
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS, node.configure_problem
            of_one = gpu.runtime.used
            node.install(other, node.opener(other)())
            assert of_one < gpu.runtime.used < 2.5 * of_one
            node.install(model, node.opener(model)())
            assert gpu.runtime.used == of_one, "swapped out models are gone"
            assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
            assert gpu.runtime.memory == {}
            node.set_parameters([Parameter("extra_points_delay_s", value=[0.1, 0.2])])
            assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
            assert gpu.runtime.memory == {}
        finally:
            node.destroy_node()


@pytest.fixture
def gpu_robot(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    """The node in a process of its own, on the stand-in GPU."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(repository), os.environ.get("PYTHONPATH")))))
    with isolated_node("robot") as node, NodeProcess("tests.ros.detector.gpu_node") as process:
        yield Robot(node, process)


def test_the_node_detects_swaps_and_starts_again(gpu_robot: Robot, make_model: Callable[..., Path]) -> None:
    robot = gpu_robot
    points = [[5.1, 3.1, 0.0, 10], [5.2, 3.2, 0.5, 20], [5.3, 3.3, 1.0, 30], [5.4, 3.4, 1.0, 30]]
    sweeps = {"num_sweeps": 3, "sweep_interval_s": 0.1}
    # The models' score is points / capacity.
    old, new = (make_model(max_points_per_pillar=capacity, **sweeps) for capacity in (16, 32))
    robot.send_static_transform("base_link", "lidar_top", SE3.identity())
    robot.bring_up(model=str(old), backend="tensorrt", sweeps_on_gpu=True, motion_timeout_s=1.0)
    robot.wait_for_odometry_subscriber()
    num_sent = 0

    def score() -> float:
        nonlocal num_sent
        stamp = T0 + num_sent * 100 * MS
        num_sent += 1
        robot.send_odometry(stamp, SE3.identity())
        return float(robot.ask(robot.cloud(points, stamp))[1].scores[0])

    assert [score() for _ in range(4)] == [4 / 16, 8 / 16, 12 / 16, 12 / 16]
    robot.detector.set_parameters({"model": str(new), "score_threshold": 0.3})
    client = robot.node.create_client(Trigger, f"{robot.name}/load_model")
    robot.wait_for(client.service_is_ready, "the service")
    assert robot.detector.call(client, Trigger.Request(), timeout_s=30.0).success
    assert [score() for _ in range(2)] == [12 / 32, 12 / 32], "the new model goes on with the sweeps"
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert robot.detector.transition(transition)
    robot.wait_for(lambda: robot.node.count_publishers(f"{robot.name}/boxes") == 0, "the end of the publishers")
    robot.bring_up(score_threshold=0.1)
    robot.wait_for_odometry_subscriber()
    num_sent += 100
    assert [score() for _ in range(2)] == [4 / 32, 8 / 32]
