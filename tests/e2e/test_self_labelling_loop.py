"""The loop closed: a drive labels itself, its frames train a detector, which takes over in the running node."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lidarloop_core.cli import main
from lidarloop_core.io.bag import BagReader
from lidarloop_core.labelling.selection.frame_store import stored_frames
from lidarloop_core.model.model_file import read_model

pytest.importorskip("torch", reason="no torch here: pip install lidarloop[train]")
pytest.importorskip("rclpy", reason="no ROS 2 here")
pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")

from diagnostic_msgs.msg import DiagnosticArray
from std_srvs.srv import Trigger

from lidarloop_ros.replay.bag_player import BagPlayer, BagTopics
from lidarloop_ros.replay.node_process import ManagedNode, NodeError, NodeProcess, isolated_node

TINY = [
    *(
        "--task.network.pillar-channels",
        "8",
        "--task.network.stage-channels",
        "8",
        "16",
        "--task.network.stage-depths",
        "1",
        "1",
    ),
    *(
        "--task.network.neck-channels",
        "16",
        "--task.network.shared-channels",
        "16",
        "--task.network.group-channels",
        "16",
    ),
    *("--optimisation.num-steps", "4", "--optimisation.batch-size", "2", "--optimisation.precision", "float32"),
    *("--run.num-workers", "0", "--run.checkpoint-every", "4", "--run.validate-every", "4"),
]


def wait_for(condition: Callable[[], bool], process: NodeProcess, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        process.require_alive()
        assert time.monotonic() < deadline, f"no {what}; the end of the node's log:\n{process.log_tail(20)}"
        time.sleep(0.01)


def remapped(name: str, **topics: str) -> list[str]:
    return [part for topic, to in topics.items() for part in ("-r", f"/{name}/input/{topic}:={to}")]


def label_and_keep(bag: Path, masks: Path, folder: Path, enough: int) -> None:
    """Plays the bag to the self-labelling node until it has kept so many frames."""
    with isolated_node("vehicle") as node, BagReader(bag) as reader:
        arguments = remapped("self_labeller", points="/lidar/points", odometry="/odom", lane_map="/lane_map")
        with NodeProcess("lidarloop_ros.self_labeller.node", arguments) as process:
            cameras = [topic for topic in reader.topics if topic.startswith("/camera/")]
            player = BagPlayer(node, reader, BagTopics("/lidar/points", "/odom", ("/tf_static", "/lane_map", *cameras)))
            labeller = ManagedNode(node, process, "/self_labeller")
            labeller.set_parameters(
                {
                    "image_topics": [topic for topic in cameras if topic.endswith("compressed")],
                    "mask_model": "masks",
                    "masks_file": str(masks),
                    "keep_folder": str(folder),
                    "keep_above": 0.0,
                    "keep_every_s": 0.0,
                    "min_free_gb": 0.0,
                }
            )
            labeller.configure()
            labeller.activate()
            wait_for(player.is_connected, process, "subscriptions")
            for _ in player.play(rate=0.2):
                pass
            wait_for(lambda: folder.is_dir() and len(stored_frames(folder)) >= enough, process, "kept frames")


def swap(node: Any, process: NodeProcess, detector: ManagedNode, model: Path) -> Trigger.Response:
    client = node.create_client(Trigger, "/lidar_detector/load_model")
    detector.set_parameters({"model": str(model)})
    for _ in range(5):  # a first request could reach the node before its answer's way back is known
        with suppress(NodeError):
            return detector.call(client, Trigger.Request(), timeout_s=30.0)
        process.require_alive()
    pytest.fail("~/load_model does not answer")


def test_a_drive_labels_itself_and_its_model_takes_over(tmp_path: Path, shipped_model: Path) -> None:
    bag, kept, run, model = (tmp_path / name for name in ("drive.mcap", "kept", "run", "new.onnx"))
    assert main(["convert", "toytown", "3200", str(bag), "--duration-s", "0.8", "--masks"]) == 0
    label_and_keep(bag, tmp_path / "drive.masks.json", kept, enough=2)

    drives = ["--data.path", str(kept), "--data.source", "kept"]
    assert main(["train", "pillar-drives", *drives, "--run.out", str(run), *TINY]) == 0
    assert main(["export", str(run), str(model)]) == 0

    with isolated_node("operator") as node, NodeProcess("lidarloop_ros.detector.node") as process:
        statuses: list[dict[str, str]] = []

        def keep(message: DiagnosticArray) -> None:
            statuses.extend({v.key: v.value for v in status.values} for status in message.status)

        node.create_subscription(DiagnosticArray, "/diagnostics", keep, 10)
        detector = ManagedNode(node, process, "/lidar_detector")
        detector.set_parameters({"model": str(shipped_model)})
        detector.configure()
        detector.activate()
        wait_for(lambda: any("model_sha256" in s for s in statuses), process, "diagnostics")
        assert statuses[-1]["model_sha256"] == read_model(shipped_model).sha256
        answer = swap(node, process, detector, model)
        assert answer.success, answer.message
        new = read_model(model).sha256
        wait_for(lambda: statuses[-1].get("model_sha256") == new, process, "the new model in the diagnostics")
        assert detector.state().label == "active"
