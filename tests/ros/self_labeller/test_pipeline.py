"""What the node labels from messages is what the offline pipeline labels from the same bag. No DDS."""

from __future__ import annotations

import copy
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ImageFormatError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.camera_messages import Calibration, calibration_from_message
from lidarloop_core.io.messages import pose_from_message, stamp_ns, transform_from_message
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import LiftingConfig, full_lifting, paper_lifting
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import CameraImage, LaneMap
from lidarloop_ros.inputs.motion import MotionUnavailableError
from lidarloop_ros.self_labeller.pipeline import LabelledSample, LabelPipeline
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.toytown.camera import CAMERAS
from lidarloop_training.toytown.drive import ToyTownDrive

FRAME = 4
CAMERA_NAMES = [camera.name for camera in CAMERAS]


class TrueMasks:
    """A mask model that gives the true masks of one sample of a drive; they depend on the camera alone."""

    name = "true masks"
    class_names = NUSCENES_CLASSES

    def __init__(self, drive: ToyTownDrive) -> None:
        self.masks = {
            camera.name: InstanceMasks(
                np.array([m.box for m in found], np.float32),
                np.ones(len(found), np.float32),
                np.array([m.label for m in found], np.int64),
                tuple(MaskWindow.of(m.mask) for m in found),
                NUSCENES_CLASSES,
                camera.width,
                camera.height,
            )
            for camera in drive[FRAME].cameras
            for found in [drive.instance_masks(FRAME, camera.name)]
        }

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        return [self.masks[image.name] for image in images]


class BagPoses:
    """Mounting poses and motion from a bag's messages."""

    def __init__(self, messages: dict[str, list[Any]]) -> None:
        self.has_motion = True
        self._mountings = {
            t.child_frame_id: transform_from_message(t.transform) for m in messages["/tf_static"] for t in m.transforms
        }
        self._poses = {stamp_ns(m.header): pose_from_message(m.pose.pose) for m in messages["/odom"]}

    def mounting(self, frame: str) -> SE3:
        if frame not in self._mountings:
            raise MotionUnavailableError(f"no transform to {frame}")
        return self._mountings[frame]

    def motion(self, stamp: int) -> SE3:
        if not self.has_motion:
            raise MotionUnavailableError("no odometry")
        return self._poses[stamp]


@pytest.fixture(scope="module")
def drive() -> ToyTownDrive:
    return ToyTownDrive(3100, duration_s=0.5)


@pytest.fixture(scope="module")
def bag(drive: ToyTownDrive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bag") / "drive.mcap"
    write_bag(drive, path)
    return path


@pytest.fixture(scope="module")
def messages(bag: Path) -> dict[str, list[Any]]:
    with BagReader(bag) as reader:
        by_topic: dict[str, list[Any]] = {topic: [] for topic in reader.topics}
        for topic, _, message in reader.messages(list(reader.topics)):
            by_topic[topic].append(message)
    return by_topic


@pytest.fixture(scope="module")
def mask_model(drive: ToyTownDrive) -> TrueMasks:
    return TrueMasks(drive)


def pictures_of(messages: dict[str, list[Any]], stamp: int) -> dict[str, Any]:
    topics = {camera.name: f"/camera/{camera.name.lower()}/image/compressed" for camera in CAMERAS}
    return {name: next(m for m in messages[topic] if stamp_ns(m.header) == stamp) for name, topic in topics.items()}


def calibrations_of(messages: dict[str, list[Any]], names: Sequence[str]) -> dict[str, Calibration | None]:
    topics = {name: f"/camera/{name.lower()}/camera_info" for name in names}
    return {name: calibration_from_message(messages[topic][0], topic) for name, topic in topics.items()}


@pytest.fixture
def label(messages: dict[str, list[Any]], mask_model: TrueMasks) -> Callable[..., LabelledSample]:
    """``label(config, …)`` labels cloud ``FRAME`` of the drive from its messages."""

    def label(
        config: LiftingConfig,
        *,
        cameras: Sequence[str] = CAMERA_NAMES,
        without: Sequence[str] = (),
        has_motion: bool = True,
        lanes: LaneMap | None = None,
        num_older: int = 10,
    ) -> LabelledSample:
        poses = BagPoses(messages)
        poses.has_motion = has_motion
        pipeline = LabelPipeline(mask_model, ShapePriors.paper(), config, poses, scene="drive")
        if lanes is not None:
            pipeline.use_lane_map(lanes)
        clouds = messages["/lidar/points"]
        for cloud in clouds[max(0, FRAME - num_older) : FRAME + 1]:
            pipeline.remember(cloud)
        pictures = pictures_of(messages, stamp_ns(clouds[FRAME].header))
        pictures = {name: picture for name, picture in pictures.items() if name not in without}
        return pipeline.label(clouds[FRAME], pictures, calibrations_of(messages, cameras))

    return label


@pytest.mark.parametrize("config", [paper_lifting(), full_lifting()], ids=["paper", "full"])
def test_labels_equal_the_offline_pipelines(
    label: Callable[..., LabelledSample], bag: Path, mask_model: TrueMasks, config: LiftingConfig
) -> None:
    sample = BagSource(bag, num_sweeps=config.num_sweeps)[FRAME]
    assert sample.lane_map is not None
    expected, _ = lift(sample, mask_model.masks, ShapePriors.paper(), config, LaneLookup(sample.lane_map))
    # In the same order of cameras: it decides between labels of equal scores.
    frame = label(config, lanes=sample.lane_map, cameras=[camera.name for camera in sample.cameras])
    assert len(expected) > 10
    np.testing.assert_allclose(frame.labels.boxes.values, expected.boxes.values, atol=1e-5)
    np.testing.assert_array_equal(frame.labels.boxes.labels, expected.boxes.labels)
    np.testing.assert_allclose(frame.labels.quality, expected.quality, atol=1e-6)
    assert frame.labels.yaw_sources == expected.yaw_sources
    assert frame.degraded == ()
    assert frame.sample.token == sample.token
    assert list(frame.stage_ms) == ["assemble", "masks", "lift"]


def test_a_missing_camera_costs_its_own_labels_alone(label: Callable[..., LabelledSample]) -> None:
    whole, without = label(paper_lifting()), label(paper_lifting(), without=("CAM_FRONT",))
    assert without.degraded == ("CAM_FRONT: no image",)
    assert {camera for cameras in without.labels.cameras for camera in cameras} < {
        camera for cameras in whole.labels.cameras for camera in cameras
    }


def test_without_ego_motion_it_goes_on_with_one_sweep(label: Callable[..., LabelledSample]) -> None:
    frame = label(paper_lifting(), has_motion=False)
    assert len(frame.labels) > 5
    assert len(frame.sample.sweeps) == 1
    assert frame.degraded == ("single sweep: no odometry",)


def test_a_missing_sweep_is_reported(label: Callable[..., LabelledSample]) -> None:
    assert label(paper_lifting(), num_older=1).degraded == ("1 of 3 sweeps missing",)


def test_an_undecodable_image_and_an_uncalibrated_camera_are_reported(
    label: Callable[..., LabelledSample], messages: dict[str, list[Any]], mask_model: TrueMasks
) -> None:
    class Choosy(TrueMasks):
        def __init__(self) -> None:
            self.masks = mask_model.masks

        def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
            if images[0].name == "CAM_BACK":
                raise ImageFormatError("a picture of encoding bayer")
            return super().find(sample_token, images)

    cloud = messages["/lidar/points"][FRAME]
    pictures = pictures_of(messages, stamp_ns(cloud.header))
    calibrations = calibrations_of(messages, CAMERA_NAMES) | {"CAM_FRONT": None}
    poses = BagPoses(messages)
    del poses._mountings["cam_back_left_optical"]
    pipeline = LabelPipeline(Choosy(), ShapePriors.paper(), paper_lifting(), poses, scene="drive")
    frame = pipeline.label(cloud, pictures, calibrations)
    assert sorted(frame.degraded) == [
        "2 of 3 sweeps missing",
        "CAM_BACK: a picture of encoding bayer",
        "CAM_BACK_LEFT: no transform to cam_back_left_optical",
        "CAM_FRONT: no usable camera_info",
    ]
    assert {camera for cameras in frame.labels.cameras for camera in cameras} <= {
        "CAM_FRONT_LEFT",
        "CAM_FRONT_RIGHT",
        "CAM_BACK_RIGHT",
    }


def compressed(like: Any, size: tuple[int, int]) -> Any:
    """The message with a grey PNG of another size."""
    file = io.BytesIO()
    Image.new("L", size).save(file, "PNG")
    picture = copy.copy(like)
    picture.format, picture.data = "png", np.frombuffer(file.getvalue(), np.uint8)
    return picture


def test_calibration_and_picture_of_two_sizes_leave_that_camera_out_and_name_it(
    label: Callable[..., LabelledSample], messages: dict[str, list[Any]], mask_model: TrueMasks
) -> None:
    cloud = messages["/lidar/points"][FRAME]
    pictures = pictures_of(messages, stamp_ns(cloud.header))
    calibrations = calibrations_of(messages, CAMERA_NAMES)
    front = calibrations["CAM_FRONT"]
    assert front is not None
    calibrations["CAM_FRONT"] = dataclasses.replace(front, width=2 * front.width, height=2 * front.height)
    pipeline = LabelPipeline(mask_model, ShapePriors.paper(), paper_lifting(), BagPoses(messages), scene="drive")
    frame = pipeline.label(cloud, pictures, calibrations)
    assert any(
        line.startswith("CAM_FRONT: ")
        and f"pictures of {front.width} × {front.height} pixels" in line
        and f"is for {2 * front.width} × {2 * front.height}" in line
        for line in frame.degraded
    )
    assert {c for cameras in frame.labels.cameras for c in cameras} == set(CAMERA_NAMES) - {"CAM_FRONT"}


@pytest.mark.parametrize(
    ("size", "said"), [((9_000, 9_000), "a picture of 9000 × 9000 pixels"), (None, "compressed picture that is none")]
)
def test_a_picture_too_large_or_broken_costs_its_camera_alone(
    messages: dict[str, list[Any]], mask_model: TrueMasks, size: tuple[int, int] | None, said: str
) -> None:
    cloud = messages["/lidar/points"][FRAME]
    pictures = pictures_of(messages, stamp_ns(cloud.header))
    front = copy.copy(pictures["CAM_FRONT"])
    if size is None:
        front.data = front.data[:40]
    pictures["CAM_FRONT"] = front if size is None else compressed(front, size)
    pipeline = LabelPipeline(mask_model, ShapePriors.paper(), paper_lifting(), BagPoses(messages), scene="drive")
    frame = pipeline.label(cloud, pictures, calibrations_of(messages, CAMERA_NAMES))
    assert any(line.startswith("CAM_FRONT: ") and said in line for line in frame.degraded)
    assert {c for cameras in frame.labels.cameras for c in cameras} == set(CAMERA_NAMES) - {"CAM_FRONT"}


def test_a_raw_picture_without_pixels_costs_its_camera_alone(
    messages: dict[str, list[Any]], mask_model: TrueMasks
) -> None:
    cloud = messages["/lidar/points"][FRAME]
    pictures = pictures_of(messages, stamp_ns(cloud.header))
    pictures["CAM_FRONT"] = SimpleNamespace(
        header=pictures["CAM_FRONT"].header, encoding="rgb8", width=0, height=0, step=0, data=b""
    )
    pipeline = LabelPipeline(mask_model, ShapePriors.paper(), paper_lifting(), BagPoses(messages), scene="drive")
    frame = pipeline.label(cloud, pictures, calibrations_of(messages, CAMERA_NAMES))
    assert any(line.startswith("CAM_FRONT: a picture of 0 × 0 pixels") for line in frame.degraded)


def test_masks_of_another_picture_size_are_reported(messages: dict[str, list[Any]], mask_model: TrueMasks) -> None:
    class Halved(TrueMasks):
        def __init__(self) -> None:
            masks = mask_model.masks["CAM_FRONT"]
            halved = dataclasses.replace(masks, width=masks.width // 2, height=masks.height // 2)
            self.masks = mask_model.masks | {"CAM_FRONT": halved}

    cloud = messages["/lidar/points"][FRAME]
    pipeline = LabelPipeline(Halved(), ShapePriors.paper(), paper_lifting(), BagPoses(messages), scene="drive")
    pictures = pictures_of(messages, stamp_ns(cloud.header))
    frame = pipeline.label(cloud, pictures, calibrations_of(messages, CAMERA_NAMES))
    assert "CAM_FRONT: picture size differs from that of the masks" in frame.degraded


def test_lane_headings_without_a_lane_map_are_a_problem(messages: dict[str, list[Any]], mask_model: TrueMasks) -> None:
    def pipeline(config: LiftingConfig) -> LabelPipeline:
        return LabelPipeline(mask_model, ShapePriors.paper(), config, BagPoses(messages), scene="drive")

    plain = pipeline(paper_lifting())
    assert "no lane map" in plain.problems()[0]
    plain.use_lane_map(LaneMap((np.array([[0.0, 0, 0], [1, 0, 0]]),), ("only",)))
    assert plain.problems() == []
    assert pipeline(full_lifting()).problems() == []
