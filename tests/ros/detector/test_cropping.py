"""Limits of points and of detections in the pipeline. No DDS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import cloud_message
from lidarloop_core.model.model_file import write_model
from lidarloop_ros.detector.loaded import make_pipeline, needs_poses, open_model
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.detector.pipeline import CloudPipeline
from lidarloop_ros.inputs.motion import MotionUnavailableError, SensorPose
from lidarloop_ros.messages.conversions import message_type
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx

MOUNTINGS = {"top": SE3.from_yaw(np.pi / 2, (1.0, 0.0, 2.0)), "left": SE3.from_yaw(0.0, (0.0, 1.0, 1.0))}
STAMP_NS = 1_700_000_000_000_000_000


class Poses:
    """A vehicle that stands still."""

    inputs = ()

    def mounting(self, frame: str) -> SE3:
        if frame not in MOUNTINGS:
            raise MotionUnavailableError(f"no transform to '{frame}'")
        return MOUNTINGS[frame]

    def motion(self, stamp_ns: int) -> SE3:
        return SE3.identity()

    def locate(self, stamp_ns: int, frame: str) -> SensorPose:
        return SensorPose(self.motion(stamp_ns), self.mounting(frame))


def cloud(*in_base: tuple[float, float, float], frame: str = "top") -> PointCloud2:
    """Points given in the vehicle's frame."""
    points = MOUNTINGS.get(frame, SE3.identity()).inverse().transform(np.array(in_base)).astype(np.float32)
    columns = {"x": points[:, 0], "y": points[:, 1], "z": points[:, 2], "intensity": np.ones(len(points), np.float32)}
    return cloud_message(columns, STAMP_NS, frame, message_type)


@pytest.fixture
def opened(make_model: Callable[..., Path]) -> Callable[..., CloudPipeline]:
    def open_pipeline(**settings: Any) -> CloudPipeline:
        params = DetectorParams(model=str(make_model()), score_threshold=0.0, **settings)
        return make_pipeline(open_model(params), Poses(), params)  # type: ignore[arg-type]

    return open_pipeline


EGO = {"ego_box": "-1 4, -1 1, 0 1.6"}
ON_THE_BONNET, AHEAD, HIGH = (3.0, 0.0, 1.0), (11.0, 0.0, 1.0), (11.0, 5.0, 4.0)


def in_base(points: np.ndarray) -> list[list[float]]:
    moved: list[list[float]] = MOUNTINGS["top"].transform(points[:, :3]).round(3).tolist()
    return moved


def test_the_own_vehicle_is_left_out_of_every_lidar(opened: Callable[..., CloudPipeline]) -> None:
    pipeline = opened(**EGO, extra_points_topics=("/left",))
    result = pipeline.process(cloud(ON_THE_BONNET, AHEAD), {"/left": cloud(ON_THE_BONNET, HIGH, frame="left")})
    np.testing.assert_allclose(in_base(result.newest_points), [AHEAD, HIGH], atol=1e-3)
    assert (result.num_cropped, result.crop_problem, result.lidar_problems) == (1, "", ())


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"min_range_m": 5.0}, [AHEAD, HIGH]),
        ({"max_range_m": 5.0}, [ON_THE_BONNET]),
        ({"height_range": "0 2"}, [ON_THE_BONNET, AHEAD]),
        ({"points_region": "20 3, 20 -3, 5 -3, 5 3"}, [AHEAD]),
        ({}, [ON_THE_BONNET, AHEAD, HIGH]),
    ],
)
def test_each_limit_leaves_out_what_lies_beyond_it(
    opened: Callable[..., CloudPipeline], settings: dict[str, Any], kept: list[tuple[float, ...]]
) -> None:
    result = opened(**settings).process(cloud(ON_THE_BONNET, AHEAD, HIGH))
    np.testing.assert_allclose(in_base(result.newest_points), kept, atol=1e-3)
    assert result.num_cropped == 3 - len(kept)


def test_detections_outside_the_region_are_left_out(opened: Callable[..., CloudPipeline]) -> None:
    result = opened(output_region="20 3, 20 -3, 5 -3, 5 3").process(cloud(ON_THE_BONNET, AHEAD, HIGH))
    assert len(result.newest_points) == 3
    np.testing.assert_allclose(in_base(result.boxes.centers), [AHEAD], atol=1e-3)


def test_without_a_mounting_the_ranges_alone_hold_and_the_reason_is_given(
    opened: Callable[..., CloudPipeline],
) -> None:
    result = opened(**EGO, max_range_m=8.0).process(cloud((3.0, 0.0, 1.0), (11.0, 0.0, 1.0), frame="unknown"))
    assert len(result.newest_points) == 1
    assert "limits of the vehicle's frame do not hold, no transform to 'unknown'" in result.crop_problem


def test_poses_are_received_where_a_limit_needs_them(
    opened: Callable[..., CloudPipeline], make_model: Callable[..., Path]
) -> None:
    detector = opened().model
    model = str(make_model())
    assert not needs_poses(detector, DetectorParams(model=model, max_range_m=50.0))
    assert needs_poses(detector, DetectorParams(model=model, **EGO))
    assert needs_poses(detector, DetectorParams(model=model, output_region="20 3, 20 -3, 5 -3"))


def test_intensity_of_another_name_is_taken_and_named(opened: Callable[..., CloudPipeline]) -> None:
    msg = cloud(AHEAD)
    next(field for field in msg.fields if field.name == "intensity").name = "reflectivity"
    result = opened().process(msg)
    assert (result.newest_points[0, 3], result.intensity_field) == (1.0, "reflectivity")


def test_a_limit_of_another_form_is_refused(opened: Callable[..., CloudPipeline]) -> None:
    with pytest.raises(ConfigError, match="expected x, y and z from and to"):
        opened(ego_box="1 2 3")


def test_a_region_of_detections_is_refused_for_a_segmenter(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", by_intensity_onnx(VOXEL_SEGMENTER), VOXEL_SEGMENTER)
    params = DetectorParams(model=str(tmp_path / "model.onnx"), output_region="0 0, 1 0, 0 1")
    with pytest.raises(ConfigError, match=r"'output_region' received '0 0, 1 0, 0 1' with .*; expected '',.*detector"):
        open_model(params)
