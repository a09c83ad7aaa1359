"""One replay: starts the node, plays the bag to it, waits for its last answers, stops it."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from lidarloop_core.errors import ConfigError
from lidarloop_core.fast_dds import segment_bytes
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.camera_messages import camera_info_topic
from lidarloop_core.io.messages import frame_name
from lidarloop_core.progress import progress_bars
from lidarloop_ros.node import fastdds
from lidarloop_ros.node.params_file import parameters_for
from lidarloop_ros.replay.bag_player import BagPlayer, BagTopics, find_topics
from lidarloop_ros.replay.machine_load import LoadMeter, MachineLoad
from lidarloop_ros.replay.node_process import ManagedNode, NodeError, NodeProcess, isolated_node
from lidarloop_ros.replay.programs import Program
from lidarloop_ros.replay.recorder import ReplayRecorder

CONNECT_TIMEOUT_S = 20.0
# How long to wait for further detections after the last cloud.
TAIL_S = 2.0
# In lockstep: after so many clouds in a row without an answer the node has stopped working.
MAX_UNANSWERED = 3
# Longest wait of a node for ego-motion, seconds, in lockstep: it has been sent, and comes when the machine is free.
LOCKSTEP_PATIENCE_S = 1.0
# A shared memory segment holds several clouds at once: one is written while others are read.
CLOUDS_IN_SEGMENT = 4


@dataclass(frozen=True)
class ReplaySettings:
    """Options of a replay; see ``lidarloop replay --help``.

    Attributes:
        program: the node that the bag is played to.
        model: path of model.onnx, for the detector.
        lockstep: whether each cloud is sent when the one before has been answered.
        rate: speed at the recorded pace; 2 plays twice as fast.
        duration_s: how much of the recording is played, seconds.
        topic: topic of the LiDAR's clouds; "" finds it.
        params_file: parameter file of the node; None: defaults.
    """

    program: Program
    model: Path | None = None
    lockstep: bool = False
    rate: float = 1.0
    duration_s: float = math.inf
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
        load: how busy the machine was with other work.
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
    load: MachineLoad


def run_replay(reader: BagReader, settings: ReplaySettings) -> ReplayRecord:
    """Plays the bag once.

    Args:
        reader: the open bag.
        settings: options of the replay.

    Raises:
        BagError: the bag has no topic to play.
        ConfigError: the parameter file sets nothing for the node.
        NodeError: the node refused the model or a parameter, died, or answered no cloud at all.
    """
    program = settings.program
    # Before anything is started: a file that is not meant for this node would be ignored without a message.
    given = parameters_for(settings.params_file, program.name) if settings.params_file else {}
    topics = _topics(reader, settings, given)
    with (
        tempfile.TemporaryDirectory(prefix="lidarloop-replay-") as folder,
        isolated_node("replay", profile=_profile(reader, topics, Path(folder))) as node,
        NodeProcess(program.module, _arguments(reader, topics, settings, Path(folder))) as process,
    ):
        # Publishers before service clients: when the node answers, it has discovered the publishers too, and no first
        # message is lost.
        player = BagPlayer(node, reader, topics)
        recorder = ReplayRecorder(node, program.name, answers=program.answers, stages=program.stages)
        managed = ManagedNode(node, process, program.name)
        if settings.model is not None:
            managed.set_parameters({"model": str(settings.model.resolve())})
        managed.configure()
        managed.activate()
        _wait_until_connected(player, recorder, process)
        meter = LoadMeter([process.pid])
        sent_for_s = _play(player, recorder, process, reader.message_counts[topics.cloud], settings)
        _wait_for_tail(recorder, process)
        load = meter.stop()
        if not recorder.num_answered:
            raise NodeError(_no_answer(recorder, process))
        return ReplayRecord(
            settings=settings,
            topics=topics,
            node_parameters=managed.parameters(program.settings),
            num_sent=recorder.num_sent,
            boxes=recorder.boxes(),
            latency_ms=recorder.latency_ms(),
            stage_ms=recorder.stage_ms(),
            sent_for_s=sent_for_s,
            peak_rss_mb=process.peak_rss_mb(),
            worst_status=recorder.worst_status,
            load=load,
        )


def _no_answer(recorder: ReplayRecorder, process: NodeProcess) -> str:
    reason = recorder.worst_status or "it gave no reason; the end of its log: " + process.log_tail()
    return f"the node answered none of {recorder.num_sent} clouds: {reason}"


def _topics(reader: BagReader, settings: ReplaySettings, given: Mapping[str, Any]) -> BagTopics:
    """The topics to play, with the images that the parameter file names; the self-labeller needs some."""
    topics = find_topics(reader, settings.topic)
    images = [topic for topic in given.get("image_topics") or () if topic]
    if not images and not settings.program.needs_images:
        return topics
    if not images:
        raise ConfigError(f"{settings.params_file} names no image_topics; expected a topic for each camera of the bag")
    reader.require(*images)
    infos = [topic for topic in map(camera_info_topic, images) if topic in reader.topics]
    lane_map = [settings.program.lane_map] if settings.program.lane_map in reader.topics else []
    return replace(topics, others=(*lane_map, *infos, *images))


def _profile(reader: BagReader, topics: BagTopics, folder: Path) -> Path | None:
    """A Fast DDS profile with room for clouds that the shipped one is too small for; None where that is enough."""
    _, _, data = next(iter(reader.raw_messages([topics.cloud])), ("", 0, b""))
    room = segment_bytes(fastdds.profile_path())
    if len(data) * CLOUDS_IN_SEGMENT <= room:
        return None
    needed = len(data) * CLOUDS_IN_SEGMENT
    _say(
        f"clouds have {len(data) / 1e6:.0f} MB; the Fast DDS profile's segment_size, {room / 1e6:.0f} MB, does not "
        f"hold {CLOUDS_IN_SEGMENT} of them: replayed with {needed / 1e6:.0f} MB; set as much on the vehicle"
    )
    profile = folder / "fastdds.xml"
    profile.write_text(fastdds.profile_with_segment(needed))
    return profile


def _arguments(reader: BagReader, topics: BagTopics, settings: ReplaySettings, folder: Path) -> list[str]:
    """ROS arguments of the node: parameters that suit the bag, then the user's file, which overrides them."""
    suggested: dict[str, Any] = {**settings.program.suggested, "motion_source": "none"}
    if topics.odometry:
        suggested |= {"motion_source": "odometry", "base_frame": _odometry_child_frame(reader, topics.odometry)}
    elif "/tf" in topics.transforms:
        suggested |= {"motion_source": "tf"}
    if settings.lockstep:
        suggested |= {"motion_timeout_s": LOCKSTEP_PATIENCE_S}
    suggestion = folder / "suggested.yaml"
    suggestion.write_text(json.dumps({"/**": {"ros__parameters": suggested}}))  # JSON is YAML
    files = [suggestion, settings.params_file] if settings.params_file else [suggestion]
    arguments = [argument for file in files for argument in ("--params-file", str(file))]
    remappings = {"~/input/points": topics.cloud, "~/input/odometry": topics.odometry}
    if settings.program.lane_map in topics.others:
        remappings["~/input/lane_map"] = settings.program.lane_map
    for name, topic in remappings.items():
        arguments += ["-r", f"{name}:={topic}"] if topic else []
    return arguments


def _odometry_child_frame(reader: BagReader, topic: str) -> str:
    _, _, message = next(iter(reader.messages([topic])), ("", 0, None))
    return frame_name(message.child_frame_id) if message is not None and message.child_frame_id else "base_link"


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


def _play(
    player: BagPlayer, recorder: ReplayRecorder, process: NodeProcess, num_clouds: int, settings: ReplaySettings
) -> float:
    # Redrawing costs the two processes' time: twice a second is enough.
    with progress_bars(refresh_hz=2) as bars:
        task = bars.add_task("replaying clouds", total=num_clouds)
        first_ns = last_ns = num_unanswered = 0
        for stamp_ns, last_ns in _sent_clouds(player, settings):
            first_ns = first_ns or last_ns
            recorder.sent(stamp_ns, last_ns)
            process.require_alive()
            if settings.lockstep:
                is_settled = _wait_for_answer(recorder, process, settings.program.answer_timeout_s)
                num_unanswered = 0 if is_settled else num_unanswered + 1
            if num_unanswered >= MAX_UNANSWERED:
                raise NodeError(
                    f"the node left {num_unanswered} clouds in a row without an answer for "
                    f"{settings.program.answer_timeout_s:g} s each: {recorder.worst_status or process.log_tail(3)}"
                )
            bars.advance(task)
    return (last_ns - first_ns) * 1e-9


def _sent_clouds(player: BagPlayer, settings: ReplaySettings) -> Iterator[tuple[int, int]]:
    if settings.lockstep:
        return player.play_in_lockstep(duration_s=settings.duration_s)
    return player.play(rate=settings.rate, duration_s=settings.duration_s, say=_say)


def _say(line: str) -> None:
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


def _wait_for_answer(recorder: ReplayRecorder, process: NodeProcess, timeout_s: float) -> bool:
    """Whether the node answered all clouds sent so far, or reported that it will not, within ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while not recorder.is_settled:
        process.require_alive()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


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
