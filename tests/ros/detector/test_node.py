"""The node over DDS, in a process of its own: lifecycle, detection, bad input, overload, shutdown."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Float64, String
from visualization_msgs.msg import Marker, MarkerArray

from lidarloop_core.io.messages import boxes_from_detections, cloud_message, stamp_ns
from lidarloop_core.model.model_file import read_model, write_model
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.replay.node_process import NodeError
from tests.ros.conftest import Robot, on_both_grids
from tests.ros.networks import mean_of_pillar_onnx

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

# Two pillars of 2 m: three points in one, two in the other.
TWO_PILLARS = [
    [5.1, 3.1, 0.0, 10],
    [5.2, 3.2, 0.5, 20],
    [5.3, 3.3, 1.0, 30],
    [-7.5, -9.5, 0.0, 100],
    [-7.1, -9.1, 1, 200],
]


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


@pytest.mark.parametrize(
    ("running_robot", "scores"),
    [("pillars", [3 / 8, 2 / 8]), ("voxels", [1 - 5.2 / 50, 1 - 7.3 / 50])],
    indirect=["running_robot"],
)
def test_detections_carry_the_clouds_header_and_the_models_boxes(active_robot: Robot, scores: list[float]) -> None:
    active_robot.detector.set_parameters({"score_threshold": 0.0})
    stamp = T0 + 123_456_789
    detections, boxes = active_robot.ask(active_robot.cloud(TWO_PILLARS, stamp))

    assert (stamp_ns(detections.header), detections.header.frame_id) == (stamp, "lidar_top")
    assert active_robot.box_clouds[0].header == detections.header
    boxes = boxes[boxes.scores > 0]
    np.testing.assert_allclose(
        boxes.values,
        [[5.2, 3.2, 0.5, 0.5, 0.5, 1.5, 0.5, 0, 20], [-7.3, -9.3, 0.5, 0.5, 0.5, 1.5, 0.5, 0, 150]],
        atol=1e-5,
    )
    np.testing.assert_allclose(boxes.scores, scores, rtol=1e-6)
    assert boxes.names == ["car", "barrier"]

    on_the_wire = boxes_from_detections(detections, boxes.class_names)
    on_the_wire = on_the_wire[on_the_wire.scores > 0]
    np.testing.assert_allclose(on_the_wire.values[:, :7], boxes.values[:, :7], atol=1e-5)
    assert on_the_wire.names == boxes.names


@pytest.mark.fault("empty_cloud")
@on_both_grids
def test_an_empty_cloud_is_answered_with_an_empty_array(active_robot: Robot) -> None:
    detections, _ = active_robot.ask(active_robot.cloud([], T0))
    assert (stamp_ns(detections.header), list(detections.detections)) == (T0, [])


@pytest.mark.fault("transitions")
def test_lifecycle_goes_round(robot: Robot, make_model: Callable[..., Path]) -> None:
    detector = robot.detector
    assert detector.state().label == "unconfigured"
    robot.bring_up(model=str(make_model()))
    assert detector.state().label == "active"
    robot.ask(robot.cloud(TWO_PILLARS, T0))
    for transition, label in (
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_CLEANUP, "unconfigured"),
        (Transition.TRANSITION_CONFIGURE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
    ):
        assert detector.transition(transition)
        assert detector.state().label == label
    robot.wait_for(lambda: robot._points.get_subscription_count() == 1, "one subscriber again")
    robot.ask(robot.cloud(TWO_PILLARS, T0 + SECOND))
    assert not detector.transition(Transition.TRANSITION_CONFIGURE), "an impossible transition is refused"
    robot.ask(robot.cloud(TWO_PILLARS, T0 + 2 * SECOND))
    assert detector.transition(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert detector.state().id == State.PRIMARY_STATE_FINALIZED
    assert robot.process.stop() == 0


@pytest.mark.fault("signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_active_node_with_exit_code_0(
    robot: Robot, make_model: Callable[..., Path], number: signal.Signals
) -> None:
    robot.bring_up(model=str(make_model()))
    robot.ask(robot.cloud(TWO_PILLARS, T0))
    os.kill(robot.process.pid, number)
    os.kill(robot.process.pid, signal.SIGINT)
    assert robot.process.stop() == 0, robot.process.log_tail()
    assert "Traceback" not in robot.process.log_tail(50)


@on_both_grids
def test_class_names_markers_and_latencies_are_published(active_robot: Robot) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    names: list[String] = []
    markers: list[MarkerArray] = []
    total_ms: list[Float64] = []
    subscriptions = [
        active_robot.node.create_subscription(String, "/lidar_detector/class_names", names.append, latched),
        active_robot.node.create_subscription(MarkerArray, "/lidar_detector/markers", markers.append, 10),
        active_robot.node.create_subscription(Float64, "/lidar_detector/debug/latency_ms/total", total_ms.append, 10),
    ]
    active_robot.wait_for(lambda: all(s.get_publisher_count() for s in subscriptions), "publishers of all outputs")
    active_robot.wait_for(lambda: names, "class names")
    assert json.loads(names[0].data) == ["car", "pedestrian", "barrier"]
    for i in range(20):  # the node may see these late subscribers a moment after they see it
        active_robot.ask(active_robot.cloud(TWO_PILLARS, T0 + i * SECOND))
        if markers and total_ms:
            break
    active_robot.wait_for(lambda: markers and total_ms, "markers and latency")
    first, *cubes_and_arrows = markers[0].markers
    assert first.action == Marker.DELETEALL
    assert {m.type for m in cubes_and_arrows} == {Marker.CUBE, Marker.ARROW}
    assert len(cubes_and_arrows) == 4
    assert 0 < total_ms[0].data < 5_000


@pytest.mark.fault("model_file")
def test_a_corrupt_model_fails_to_configure_and_a_good_one_then_works(
    robot: Robot, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    good = make_model()
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    corrupt = tmp_path / "corrupt.onnx"
    corrupt.write_bytes(data)
    # Its seal is whole, but its spec promises other columns than its graph takes.
    contradictory = tmp_path / "contradictory.onnx"
    spec = read_model(good).spec
    other = dataclasses.replace(spec, point_columns=("x", "y", "z", "intensity"))
    write_model(contradictory, mean_of_pillar_onnx(spec), other)
    for model in (corrupt, contradictory, tmp_path / "missing.onnx", ""):
        robot.detector.set_parameters({"model": str(model)})
        with pytest.raises(NodeError, match="refused to configure"):
            robot.detector.configure()
        assert robot.detector.state().label == "unconfigured"
    status = robot.status_where(lambda s: s.level == ERROR, "an ERROR")
    assert "parameter 'model'" in status.message
    log = robot.process.log_tail(100)
    assert "Traceback" not in log
    assert log.count("not configured") == 4
    assert "its spec promises" in log
    robot.bring_up(model=str(good))
    robot.ask(robot.cloud(TWO_PILLARS, T0))


HUGE_LAYOUT = [PointField(name=f"{i % 99:03d}" * 300, offset=0, datatype=7, count=1) for i in range(100)]


def bad_clouds(robot: Robot) -> dict[str, PointCloud2]:
    def changed(**changes: Any) -> PointCloud2:
        msg = robot.cloud(TWO_PILLARS, T0)
        for name, value in changes.items():
            setattr(msg, name, value)
        return msg

    def with_field(**changes: Any) -> PointCloud2:
        msg = changed()
        for name, value in changes.items():
            setattr(msg.fields[1], name, value)
        return msg

    ones = np.ones(4, np.float32)
    return {
        "'y' has datatype 9": with_field(datatype=9),
        "'y' received bytes 14…18": with_field(offset=14),
        "row_step 80; expected at least": changed(point_step=17),
        "lacks field intensity": cloud_message({"x": ones, "y": ones, "z": ones}, T0, "lidar_top", message_type),
        "lacks field x": cloud_message({"range": ones, "intensity": ones}, T0, "lidar_top", message_type),
        "no fields": changed(fields=[]),
        "bytes of data": changed(data=array("B", bytes(7))),
        "row_step": changed(row_step=3),
        "fields named '000000": changed(fields=HUGE_LAYOUT),
    }


@pytest.mark.fault("undecodable")
@on_both_grids
def test_bad_clouds_are_errors_and_the_next_good_one_is_answered(active_robot: Robot) -> None:
    active_robot.ask(active_robot.cloud(TWO_PILLARS, T0))
    for i, (reason, bad) in enumerate(bad_clouds(active_robot).items()):
        answers = len(active_robot.detections)
        bad.header.stamp.nanosec = i + 1
        active_robot.send(bad)
        status = active_robot.reported(ERROR, reason)
        assert values_of(status)["frames_rejected"] == str(i + 1)
        assert len(status.message) < 2000
        assert len(active_robot.detections) == answers, "a rejected cloud publishes nothing"
    active_robot.ask(active_robot.cloud(TWO_PILLARS, T0 + SECOND))
    status = active_robot.stream_until(
        lambda s: s.level == OK and int(values_of(s)["frames_detected"]) > 2,
        "an OK after the faults",
        lambda i: active_robot.cloud(TWO_PILLARS, T0 + (i + 2) * SECOND),
    )
    assert values_of(status)["frames_rejected"] == str(len(bad_clouds(active_robot)))


@pytest.mark.fault("undecodable")
def test_a_stamp_of_two_forms_is_refused(active_robot: Robot) -> None:
    """Its answer could not have the cloud's own header: 10⁹ ns are published as a second."""
    answers = len(active_robot.detections)
    malformed = active_robot.cloud(TWO_PILLARS, T0)
    malformed.header.stamp.nanosec = 1_500_000_000
    active_robot.send(malformed)
    active_robot.reported(ERROR, "received a stamp with nanosec 1500000000; expected less than 1000000000")
    last = active_robot.cloud(TWO_PILLARS, T0)
    last.header.stamp.nanosec = 999_999_999
    detections, _ = active_robot.ask(last)
    assert (detections.header, len(active_robot.detections)) == (last.header, answers + 1)


@pytest.mark.fault("not_finite")
@on_both_grids
def test_points_that_are_not_finite_are_left_out_and_reported(active_robot: Robot) -> None:
    nan, inf = float("nan"), float("inf")
    _, boxes = active_robot.ask(active_robot.cloud([*TWO_PILLARS, [nan, 1, 1, 1], [1, inf, 1, 1], [1, 1, -inf, 1]], T0))
    assert len(boxes) == 2
    status = active_robot.status_where(lambda s: "non_finite_share" in values_of(s), "figures")
    assert values_of(status)["non_finite_share"] == f"{3 / 8:.4f}"


@pytest.mark.fault("slow")
def test_the_newest_cloud_wins_under_overload(robot: Robot, make_model: Callable[..., Path]) -> None:
    """Clouds come much faster than they can be worked on: none waits in a queue, the drops are counted."""
    robot.bring_up(model=str(make_model(busy_layers=60)), num_threads=1)
    num_sent = num_dropped = 0
    while not num_dropped and num_sent < 200:  # how many of a burst arrive while one is worked on is up to the machine
        for _ in range(20):
            num_sent += 1
            robot.send(robot.cloud(TWO_PILLARS, T0 + num_sent * SECOND))
            time.sleep(0.005)
        last = T0 + num_sent * SECOND
        robot.wait_for(
            lambda: robot.detections and stamp_ns(robot.detections[-1].header) == last,  # noqa: B023
            "the newest answered",
        )
        figures = values_of(robot.status_where(lambda s: "frames_in" in values_of(s), "figures"))
        num_dropped = int(figures["frames_dropped"])
    assert num_dropped > 0
    assert num_dropped == int(figures["frames_in"]) - int(figures["frames_detected"])
    stamps = [stamp_ns(msg.header) for msg in robot.detections]
    assert stamps == sorted(set(stamps))
    assert len(stamps) == int(figures["frames_detected"]) < num_sent
    robot.reported(WARN, "the detector is slower than the LiDAR")


@pytest.mark.fault("silence")
def test_silence_is_a_warning_with_what_to_check(active_robot: Robot) -> None:
    status = active_robot.status_where(lambda s: s.level != OK and "no cloud for" in s.message, "a WARN")
    assert "fastdds.xml" in status.message, "a publisher is there, so the profile is the likely reason"


@on_both_grids
def test_clouds_of_3_mb_are_delivered(active_robot: Robot) -> None:
    """3.2 MB, best effort: more than Fast DDS's default shared memory lets through."""
    points = np.random.default_rng(0).uniform(-30, 30, (200_000, 4)).astype(np.float32)
    points[:, 2] = 0
    msg = active_robot.cloud(points, T0)
    assert len(msg.data) == 3_200_000
    for _ in range(10):
        msg.header.stamp.sec += 1
        active_robot.ask(msg)
    assert len(active_robot.detections) == 10


@on_both_grids
def test_the_node_maps_no_torch(active_robot: Robot) -> None:
    active_robot.ask(active_robot.cloud(TWO_PILLARS, T0))
    maps = Path(f"/proc/{active_robot.process.pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc here")
    mapped = maps.read_text()
    assert "onnxruntime" in mapped
    assert "torch" not in mapped
