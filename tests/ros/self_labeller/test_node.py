"""The self-labelling node over DDS, in a process of its own, fed with a toy-town drive with cameras."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, PointCloud2
from vision_msgs.msg import Detection3DArray

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.messages import boxes_from_cloud, boxes_from_detections, stamp_ns
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import full_lifting
from lidarloop_core.labelling.mask_models.masks_file import MasksFile
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import LaneMap, Sample
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.replay.bag_player import header_stamp_ns
from lidarloop_ros.replay.node_process import ManagedNode, NodeError, NodeProcess, isolated_node
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.convert.bag import convert_to_bag
from lidarloop_training.data.convert.options import ConvertOptions
from lidarloop_training.data.drive_spec import ToyTown
from lidarloop_training.data.kept_frames.reader import KeptFramesSource

NAME = "/self_labeller"
WARN, ERROR = DiagnosticStatus.WARN, DiagnosticStatus.ERROR
REMAPPINGS = (
    f"{NAME}/input/points:=/lidar/points",
    f"{NAME}/input/odometry:=/odom",
    f"{NAME}/input/lane_map:=/lane_map",
)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bag of half a second, and the masks of its pictures."""
    folder = tmp_path_factory.mktemp("drive")
    convert_to_bag(ToyTown(3100, duration_s=0.5), folder / "drive.mcap", ConvertOptions(masks=True, num_workers=2))
    (masks,) = folder.glob("*.json")
    return folder / "drive.mcap", masks


class Vehicle:
    """The sensors of a bag, frame by frame, and an ear for what the node says."""

    def __init__(self, node: Node, process: NodeProcess, bag: Path) -> None:
        self.node, self.process = node, process
        self.labels: list[Detection3DArray] = []
        self.boxes: list[PointCloud2] = []
        self.statuses: list[DiagnosticStatus] = []
        node.create_subscription(Detection3DArray, f"{NAME}/labels", self.labels.append, 100)
        node.create_subscription(PointCloud2, f"{NAME}/boxes", self.boxes.append, 100)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._keep_statuses, 100)
        with BagReader(bag) as reader:
            self.image_topics = sorted(t for t in reader.topics if t.endswith("/image/compressed"))
            self._latched = set(reader.latched_topics)
            self._publishers = {
                topic: node.create_publisher(
                    message_type(kind),
                    topic,
                    QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
                    if topic in self._latched
                    else QoSProfile(depth=50),
                )
                for topic, kind in reader.topics.items()
                if not topic.startswith(("/ground_truth", "/lidarloop"))
            }
            self.messages: dict[int, list[tuple[str, bytes]]] = {}
            for topic, _, data in reader.raw_messages(list(self._publishers)):
                if topic in self._latched:
                    self._publishers[topic].publish(bytes(data))
                else:
                    stamp = header_stamp_ns(data) if topic != "/tf" else 0
                    self.messages.setdefault(stamp, []).append((topic, bytes(data)))
        self.stamps = sorted(stamp for stamp in self.messages if stamp)
        # Last: when its last client is answered, the node has heard of everything above too.
        self.labeller = ManagedNode(node, process, NAME)

    def _keep_statuses(self, message: Any) -> None:
        self.statuses.extend(message.status)

    def bring_up(self, *, uncalibrated: tuple[str, ...] = (), **parameters: Any) -> None:
        patient = {"image_topics": self.image_topics, "mask_model": "masks", "motion_timeout_s": 1.0}
        self.labeller.set_parameters(patient | parameters)
        self.labeller.configure()
        self.labeller.activate()
        needed = [t for t in self._publishers if t != "/tf"]
        self.wait_for(lambda: all(self._publishers[t].get_subscription_count() for t in needed), "subscriptions")
        for topic, data in self.messages[self.stamps[0]]:
            if topic.endswith("camera_info") and not topic.startswith(uncalibrated or ("-",)):
                self._publishers[topic].publish(data)
        rest = len(uncalibrated)
        self.status_where(lambda s: bool(s.message.count("no camera_info") == rest and s.values), "calibration")
        for topic in ("labels", "boxes"):
            self.wait_for(lambda: self.node.count_publishers(f"{NAME}/{topic}") > 0, topic)  # noqa: B023

    def drive(self, stamp: int, *, without: tuple[str, ...] = ()) -> None:
        """Everything the sensors say at a stamp: odometry and calibration, the cloud, the pictures."""
        order = ("/odom", "camera_info", "/lidar/points", "image/compressed")
        ranked = sorted(self.messages[stamp], key=lambda m: next(i for i, e in enumerate(order) if m[0].endswith(e)))
        for topic, data in ranked:
            if not topic.startswith(without or ("-",)):
                self._publishers[topic].publish(data)

    def ask(self, stamp: int, *, without: tuple[str, ...] = ()) -> tuple[Detection3DArray, PointCloud2]:
        """Drives on to a stamp and waits for its labels."""
        self.drive(stamp, without=without)
        self.wait_for(lambda: any(stamp_ns(m.header) == stamp for m in self.boxes), "labels")
        self.wait_for(lambda: any(stamp_ns(m.header) == stamp for m in self.labels), "labels")
        return tuple(next(m for m in heard if stamp_ns(m.header) == stamp) for heard in (self.labels, self.boxes))

    def status_where(self, condition: Callable[[DiagnosticStatus], bool], what: str) -> DiagnosticStatus:
        start = len(self.statuses)
        self.wait_for(lambda: any(condition(s) for s in self.statuses[start:]), what)
        return next(s for s in self.statuses[start:] if condition(s))

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.process.require_alive()
            if time.monotonic() > deadline:
                said = [f"{status.level!r} {status.message}" for status in self.statuses[-3:]]
                pytest.fail(f"no {what} within {timeout_s} s; diagnostics {said}; log:\n{self.process.log_tail(20)}")
            time.sleep(0.002)


@pytest.fixture
def vehicle(drive: tuple[Path, Path]) -> Iterator[Vehicle]:
    with ExitStack() as stack:
        node = stack.enter_context(isolated_node("vehicle"))
        arguments = [part for remapping in REMAPPINGS for part in ("-r", remapping)]
        process = stack.enter_context(NodeProcess("lidarloop_ros.self_labeller.node", arguments))
        yield Vehicle(node, process, drive[0])


def lane_map_of(sample: Sample) -> LaneMap:
    assert sample.lane_map is not None
    return sample.lane_map


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def test_labels_made_live_are_those_of_the_offline_pipeline(
    vehicle: Vehicle, drive: tuple[Path, Path], tmp_path: Path
) -> None:
    bag, masks = drive
    overlays: list[CompressedImage] = []
    topic = f"{NAME}/overlay/cam_front/compressed"
    vehicle.node.create_subscription(CompressedImage, topic, overlays.append, 10)
    vehicle.bring_up(
        masks_file=str(masks),
        keep_folder=str(tmp_path / "kept"),
        min_free_gb=0.0,
        keep_every_s=0.0,
        camera_patience_s=5.0,
    )
    vehicle.wait_for(lambda: vehicle.node.count_publishers(topic) > 0, "a publisher of overlays")

    source, mask_model = BagSource(bag, num_sweeps=3), MasksFile(masks)
    for index, stamp in enumerate(vehicle.stamps):
        labels, cloud = vehicle.ask(stamp)
        sample = source[index]
        # In the node's order of cameras: it decides between labels of equal scores.
        found = {
            image.name: mask_model.find(sample.token, [image])[0]
            for image in sorted(sample.cameras, key=lambda image: image.name)
        }
        expected, _ = lift(sample, found, ShapePriors.paper(), full_lifting(), LaneLookup(lane_map_of(sample)))
        boxes, extra = boxes_from_cloud(cloud, NUSCENES_CLASSES)
        assert cloud.header == labels.header
        assert cloud.header.frame_id == "lidar_top"
        assert len(boxes) == len(expected) > 5
        by_place = [np.lexsort(b.values[:, :3].T) for b in (boxes, expected.boxes)]
        np.testing.assert_allclose(boxes.values[by_place[0]], expected.boxes.values[by_place[1]], atol=1e-4)
        np.testing.assert_allclose(extra["quality"][by_place[0]], expected.quality[by_place[1]], atol=1e-5)
        assert sorted(boxes_from_detections(labels, NUSCENES_CLASSES).names) == sorted(expected.boxes.names)

    vehicle.wait_for(lambda: overlays, "an overlay")
    vehicle.wait_for(lambda: (tmp_path / "kept").is_dir() and any((tmp_path / "kept").glob("*.zip")), "a kept frame")
    kept = KeptFramesSource(tmp_path / "kept").frame(0)
    assert len(kept.sample.cameras) == 6
    assert kept.sample.keyframe.world_SE3_ego is not None
    assert kept.degraded[1:] == ()  # the first clouds of a drive lack older sweeps, and nothing else
    assert kept.provenance["mask_model"].startswith("masks ")


@pytest.mark.fault("camera")
def test_a_camera_that_drops_out_degrades_and_returns(vehicle: Vehicle, drive: tuple[Path, Path]) -> None:
    vehicle.bring_up(masks_file=str(drive[1]), camera_patience_s=0.05)
    first, second, third, *_ = vehicle.stamps
    vehicle.ask(first)
    _, without = vehicle.ask(second, without=("/camera/cam_front/",))
    status = vehicle.status_where(lambda s: "CAM_FRONT: no image" in s.message, "a warning of the camera")
    assert status.level == WARN
    _, whole = vehicle.ask(third)
    assert len(boxes_from_cloud(without, NUSCENES_CLASSES)[0]) < len(boxes_from_cloud(whole, NUSCENES_CLASSES)[0])


@pytest.mark.fault("camera")
def test_an_uncalibrated_camera_is_a_warning_and_not_projected(vehicle: Vehicle, drive: tuple[Path, Path]) -> None:
    vehicle.bring_up(masks_file=str(drive[1]), uncalibrated=("/camera/cam_back/",))
    vehicle.ask(vehicle.stamps[0], without=("/camera/cam_back/camera_info",))
    status = vehicle.status_where(lambda s: "CAM_BACK: no usable camera_info" in s.message, "a warning")
    assert status.level == WARN


@pytest.mark.fault("label_disk")
def test_a_disk_that_refuses_pauses_keeping_and_labels_go_on(
    vehicle: Vehicle, drive: tuple[Path, Path], tmp_path: Path
) -> None:
    in_the_way = tmp_path / "kept"
    in_the_way.write_text("a file where the folder should be")
    vehicle.bring_up(masks_file=str(drive[1]), keep_folder=str(in_the_way), min_free_gb=0.0, keep_every_s=0.0)
    vehicle.ask(vehicle.stamps[0])
    status = vehicle.status_where(lambda s: "keeping is paused" in s.message, "a warning of the disk")
    assert status.level == WARN
    in_the_way.unlink()
    vehicle.ask(vehicle.stamps[1])


def test_unusable_files_are_errors_and_the_node_stays_unconfigured(vehicle: Vehicle, drive: tuple[Path, Path]) -> None:
    for parameters, said in (
        ({"masks_file": ""}, "masks_file"),
        ({"masks_file": "missing.json"}, "missing.json"),
        ({"mask_model": "onnx", "detector_2d": "missing.onnx", "segmenter_2d": "missing.onnx"}, "missing.onnx"),
        ({"shape_priors": "missing_priors.json"}, "missing_priors.json"),
    ):
        sound = {"mask_model": "masks", "masks_file": str(drive[1]), "shape_priors": ""}
        vehicle.labeller.set_parameters(sound | parameters)
        with pytest.raises(NodeError, match=said):
            vehicle.labeller.configure()
        status = vehicle.status_where(lambda s: said in s.message, "an error")  # noqa: B023
        assert status.level == ERROR
        assert vehicle.labeller.state().label == "unconfigured"
    vehicle.bring_up(masks_file=str(drive[1]), shape_priors="")
    vehicle.ask(vehicle.stamps[0])


def test_lifecycle_goes_round_and_a_signal_ends_it_cleanly(vehicle: Vehicle, drive: tuple[Path, Path]) -> None:
    vehicle.bring_up(masks_file=str(drive[1]))
    vehicle.ask(vehicle.stamps[0])
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert vehicle.labeller.transition(transition)
    vehicle.wait_for(lambda: vehicle.node.count_subscribers("/lidar/points") > 0, "a subscriber of clouds")
    os.kill(vehicle.process.pid, signal.SIGINT)
    assert vehicle.process.stop() == 0, vehicle.process.log_tail()
    assert "Traceback" not in vehicle.process.log_tail(50)
