"""One replay: starts the node, plays the bag to it, waits for the last detections, stops it."""

from __future__ import annotations

import json
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.bag import BagReader
from lidarloop_core.progress import progress_bars
from lidarloop_ros.replay.bag_player import BagPlayer, BagTopics, find_topics
from lidarloop_ros.replay.node_process import ManagedNode, NodeError, NodeProcess, isolated_node
from lidarloop_ros.replay.recorder import ReplayRecorder

NODE_NAME = "/lidar_detector"
CONNECT_TIMEOUT_S = 20.0
# How long to wait for further detections after the last cloud.
TAIL_S = 2.0


@dataclass(frozen=True)
class ReplaySettings:
    """Options of a replay; see ``lidarloop replay --help``.

    Attributes:
        model: path of model.onnx.
        rate: speed; 2 plays twice as fast.
        topic: topic of the LiDAR's clouds; "" finds it.
        params_file: parameter file of the node; None: defaults.
    """

    model: Path
    rate: float = 1.0
    topic: str = ""
    params_file: Path | None = None


@dataclass(frozen=True)
class ReplayRecord:
    """What a replay recorded.

    Attributes:
        settings: options of the replay.
        topics: topics of the bag that were played.
        node_parameters: name → value of the node's parameters.
        num_sent: number of clouds published.
        boxes: stamp_ns of each answered cloud → boxes in the cloud's frame.
        latency_ms: milliseconds from the publication of each answered cloud to the arrival of its detections.
        stage_ms: stage → its durations as the node measured them, milliseconds.
        sent_for_s: time from the first cloud sent to the last, seconds.
        peak_rss_mb: largest resident memory of the node, MB (10^6 bytes).
        worst_status: message of the worst diagnostic status; "" if all were OK.
    """

    settings: ReplaySettings
    topics: BagTopics
    node_parameters: Mapping[str, Any]
    num_sent: int
    boxes: Mapping[int, Boxes3D]
    latency_ms: list[float]
    stage_ms: Mapping[str, list[float]]
    sent_for_s: float
    peak_rss_mb: float
    worst_status: str


def run_replay(reader: BagReader, settings: ReplaySettings, class_names: tuple[str, ...]) -> ReplayRecord:
    """Plays the bag once.

    Args:
        reader: the open bag.
        settings: options of the replay.
        class_names: names of the model's classes, which the labels stand for.

    Raises:
        BagError: the bag has no topic to play.
        NodeError: the node refused the model or a parameter, died, or answered no cloud at all.
    """
    topics = find_topics(reader, settings.topic)
    with (
        _sigterm_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="lidarloop-replay-") as folder,
        isolated_node("replay") as node,
        NodeProcess("lidarloop_ros.detector.node", _arguments(reader, topics, settings, Path(folder))) as process,
    ):
        # Publishers before service clients: when the node answers, it has discovered the publishers too, and no first
        # message is lost.
        player = BagPlayer(node, reader, topics)
        recorder = ReplayRecorder(node, NODE_NAME)
        detector = ManagedNode(node, process, NODE_NAME)
        detector.set_parameters({"model": str(settings.model.resolve())})
        detector.configure()
        detector.activate()
        _wait_until_connected(player, recorder, process)
        sent_for_s = _play(player, recorder, process, reader.message_counts[topics.cloud], settings.rate)
        _wait_for_tail(recorder, process)
        if not recorder.num_answered:
            raise NodeError(
                f"the node answered none of {recorder.num_sent} clouds: "
                f"{recorder.worst_status or 'it gave no reason; the end of its log: ' + process.log_tail()}"
            )
        return ReplayRecord(
            settings=settings,
            topics=topics,
            node_parameters=detector.parameters(),
            num_sent=recorder.num_sent,
            boxes=recorder.boxes(class_names),
            latency_ms=recorder.latency_ms(),
            stage_ms=recorder.stage_ms(),
            sent_for_s=sent_for_s,
            peak_rss_mb=process.peak_rss_mb(),
            worst_status=recorder.worst_status,
        )


def _arguments(reader: BagReader, topics: BagTopics, settings: ReplaySettings, folder: Path) -> list[str]:
    """ROS arguments of the node: parameters that suit the bag, then the user's file, which overrides them."""
    # A recording's stamps are not compared with the clock.
    suggested: dict[str, Any] = {"max_age_s": 0.0, "motion_source": "none"}
    if topics.odometry:
        suggested |= {"motion_source": "odometry", "base_frame": _odometry_child_frame(reader, topics.odometry)}
    elif "/tf" in topics.transforms:
        suggested |= {"motion_source": "tf"}
    suggestion = folder / "suggested.yaml"
    suggestion.write_text(json.dumps({"/**": {"ros__parameters": suggested}}))  # JSON is YAML
    files = [suggestion, settings.params_file] if settings.params_file else [suggestion]
    arguments = [argument for file in files for argument in ("--params-file", str(file))]
    remappings = {"~/input/points": topics.cloud, "~/input/odometry": topics.odometry}
    for name, topic in remappings.items():
        arguments += ["-r", f"{name}:={topic}"] if topic else []
    return arguments


def _odometry_child_frame(reader: BagReader, topic: str) -> str:
    _, _, message = next(iter(reader.messages([topic])), ("", 0, None))
    return str(message.child_frame_id) if message is not None and message.child_frame_id else "base_link"


def _wait_until_connected(player: BagPlayer, recorder: ReplayRecorder, process: NodeProcess) -> None:
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while not (player.is_connected() and recorder.is_connected()):
        process.require_alive()
        if time.monotonic() > deadline:
            raise NodeError(
                f"replay and node did not find each other within {CONNECT_TIMEOUT_S:.0f} s; subscribers: "
                f"{player.subscriber_counts()}. Check that multicast on the loopback is not firewalled"
            )
        time.sleep(0.01)


def _play(player: BagPlayer, recorder: ReplayRecorder, process: NodeProcess, num_clouds: int, rate: float) -> float:
    # Redrawing costs the two processes' time: twice a second is enough.
    with progress_bars(refresh_hz=2) as bars:
        task = bars.add_task("replaying clouds", total=num_clouds)
        first_ns = last_ns = 0
        for stamp_ns, last_ns in player.play(rate=rate):
            first_ns = first_ns or last_ns
            recorder.sent(stamp_ns, last_ns)
            process.require_alive()
            bars.advance(task)
    return (last_ns - first_ns) * 1e-9


def _wait_for_tail(recorder: ReplayRecorder, process: NodeProcess) -> None:
    num_answered = -1
    deadline = 0.0
    while recorder.num_answered < recorder.num_sent:
        if recorder.num_answered > num_answered:
            num_answered, deadline = recorder.num_answered, time.monotonic() + TAIL_S
        if time.monotonic() > deadline:
            return
        process.require_alive()
        time.sleep(0.02)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Lets a SIGTERM unwind the stack as Ctrl-C does, so that the node is stopped and nothing is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
