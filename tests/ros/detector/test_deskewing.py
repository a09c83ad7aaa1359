"""Clouds with their skew through the pipeline: one point that stands still, in closed form. No DDS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels
from lidarloop_core.io.messages import cloud_message
from lidarloop_core.model.model_file import write_model
from lidarloop_ros.detector.loaded import make_pipeline, open_model
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.detector.pipeline import CloudPipeline
from lidarloop_ros.inputs.deskewing import moment_of
from lidarloop_ros.inputs.motion import MotionUnavailableError, SensorPose
from lidarloop_ros.messages.conversions import message_type
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx, make_spec

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
MOUNTINGS = {"top": SE3.from_yaw(0.3, (0.9, 0.1, 1.8)), "left": SE3.from_yaw(1.6, (0.5, 0.9, 0.7))}
POINT = np.array([5.0, 3.0, 0.5])  # in the top LiDAR's frame at the stamp, in the middle of a pillar
NUM_SEEN = 8  # as often as a pillar holds


class Poses:
    """25 m/s and 40°/s on a circle, far from the world's origin."""

    inputs = ()

    def __init__(self, known_until_ns: int = 2 * T0) -> None:
        self._known_until_ns = known_until_ns

    def mounting(self, frame: str) -> SE3:
        return MOUNTINGS[frame]

    def motion(self, stamp_ns: int) -> SE3:
        if stamp_ns > self._known_until_ns:
            raise MotionUnavailableError("no odometry")
        t, turn = (stamp_ns - T0) * 1e-9, np.radians(40)
        radius = 25 / turn
        return SE3.from_yaw(turn * t, (4e5 + radius * np.sin(turn * t), radius * (1 - np.cos(turn * t)), 0.0))

    def locate(self, stamp_ns: int, frame: str) -> SensorPose:
        return SensorPose(self.motion(stamp_ns), self.mounting(frame))


def seen(stamp_ns: int, seconds: np.ndarray, *, frame: str = "top", origin_ns: int = T0, **times: Any) -> PointCloud2:
    """The point as a LiDAR sees it at each time after the stamp; it stands at ``POINT`` at ``origin_ns``."""
    world = Poses().motion(origin_ns) @ MOUNTINGS["top"]
    xyz = np.concatenate(
        [
            ((Poses().motion(stamp_ns + round(1e9 * s)) @ MOUNTINGS[frame]).inverse() @ world).transform(POINT[None])
            for s in seconds
        ]
    ).astype(np.float32)
    columns = {"x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2], "intensity": np.full(len(xyz), 60, np.float32)}
    return cloud_message(columns | times, stamp_ns, frame, message_type)


@pytest.fixture
def opened(make_model: Callable[..., Path]) -> Callable[..., CloudPipeline]:
    def open_pipeline(poses: Poses | None = None, sweep_stamp: str = "end", **settings: Any) -> CloudPipeline:
        model = make_model(num_sweeps=3, sweep_interval_s=0.1, sweep_stamp=sweep_stamp)
        params = DetectorParams(**{"model": str(model), "deskew": True} | settings)
        return make_pipeline(open_model(params), poses or Poses(), params)  # type: ignore[arg-type]

    return open_pipeline


@pytest.mark.parametrize("sweep_stamp", ["start", "middle", "end"])
@pytest.mark.parametrize("first_s", [0.0, -0.05, -0.1])
def test_a_standing_point_is_found_where_it_is_at_the_stamp(
    opened: Callable[..., CloudPipeline], first_s: float, sweep_stamp: str
) -> None:
    """Wherever in the sweep the driver has its stamp, and the model's training had it."""
    pipeline = opened(sweep_stamp=sweep_stamp)
    seconds = first_s + np.linspace(0, 0.1, NUM_SEEN)
    result = pipeline.process(seen(T0, seconds, t=(1e9 * seconds).astype(np.int32)))
    np.testing.assert_allclose(result.boxes.values[0, :3], POINT, atol=0.005)
    np.testing.assert_allclose(result.boxes.scores, [1.0])
    np.testing.assert_allclose(result.newest_points[:, :3], np.tile(POINT, (NUM_SEEN, 1)), atol=0.005)
    assert result.skew_problem == ""
    assert result.point_times.startswith("t in ns, relative to the stamp; 100 ms long")


def test_sweeps_are_merged_after_they_were_deskewed(opened: Callable[..., CloudPipeline]) -> None:
    pipeline = opened()
    seconds = np.array([-0.1, 0.0])
    for i in (-2, -1, 0):
        result = pipeline.process(seen(T0 + 100 * i * MS, seconds, time=seconds.astype(np.float32)))
    assert result.num_sweeps == 3
    np.testing.assert_allclose(result.boxes.values[0, :3], POINT, atol=0.005)
    np.testing.assert_allclose(result.boxes.scores, [6 / 8])


def test_without_deskewing_the_point_is_smeared(opened: Callable[..., CloudPipeline]) -> None:
    seconds = np.linspace(-0.1, 0.0, NUM_SEEN)
    result = opened(deskew=False).process(seen(T0, seconds, time=seconds.astype(np.float32)))
    assert np.ptp(result.newest_points[:, :3], axis=0).max() > 2.0
    assert (result.point_times, result.skew_problem) == ("", "")


def test_a_further_lidar_with_a_stamp_of_its_own_is_deskewed_with_the_first(
    opened: Callable[..., CloudPipeline],
) -> None:
    pipeline = opened(extra_points_topics=("/left",), extra_points_delay_s=(0.05,))
    seconds = np.linspace(-0.1, 0.0, 4)
    times = seconds.astype(np.float32)
    first, other = seen(T0, seconds, time=times), seen(T0 + 30 * MS, seconds, frame="left", time=times)
    result = pipeline.process(first, {"/left": other})
    np.testing.assert_allclose(result.newest_points[:, :3], np.tile(POINT, (8, 1)), atol=0.005)
    assert result.lidar_problems == ()


def test_clouds_without_times_are_used_with_their_skew_and_the_reason_is_given(
    opened: Callable[..., CloudPipeline],
) -> None:
    result = opened().process(seen(T0, np.zeros(3)))
    np.testing.assert_allclose(result.boxes.values[0, :3], POINT, atol=1e-4)
    assert "no time for each point" in result.skew_problem
    assert result.motion_problem == ""


def test_without_ego_motion_during_the_sweep_the_reason_is_given(opened: Callable[..., CloudPipeline]) -> None:
    pipeline = opened(Poses(known_until_ns=T0 + 50 * MS))
    seconds = np.linspace(0.0, 0.1, 3)
    result = pipeline.process(seen(T0, seconds, time=seconds.astype(np.float32)))
    assert result.motion_problem == "no odometry"
    assert result.skew_problem == "the ego-motion is unknown"
    assert len(result.newest_points) == 3


def test_missing_intensity_is_filled_in_deskewed_clouds_too(opened: Callable[..., CloudPipeline]) -> None:
    seconds = np.linspace(-0.1, 0.0, NUM_SEEN)
    msg = seen(T0, seconds, time=seconds.astype(np.float32))
    msg.fields = [field for field in msg.fields if field.name != "intensity"]
    result = opened(missing_intensity="zeros").process(msg)
    np.testing.assert_allclose(result.newest_points, np.tile([*POINT, 0.0], (NUM_SEEN, 1)), atol=0.005)
    assert result.missing_column


@pytest.mark.parametrize("sweep_stamp", ["middle", "end"])
def test_labels_are_those_of_the_received_points_in_their_order(tmp_path: Path, sweep_stamp: str) -> None:
    """Some were measured beyond the range of the segmenter, and lie within it at the moment of its training."""
    spec = make_spec(VOXEL_SEGMENTER, num_sweeps=3, sweep_stamp=sweep_stamp, x_range_m=(-6.4, 6.4))
    write_model(tmp_path / "model.onnx", by_intensity_onnx(spec), spec)
    intensity = np.array([120, 10, 230, 130, 20, 240, 140, 30], np.float32)
    found = {}
    for deskew in (True, False):
        params = DetectorParams(model=str(tmp_path / "model.onnx"), deskew=deskew)
        pipeline = make_pipeline(open_model(params), Poses(), params)  # type: ignore[arg-type]
        for i in (-1, 0):
            seconds = np.linspace(-0.1, 0.0, NUM_SEEN)
            times = seconds.astype(np.float32)
            result = pipeline.process(seen(T0 + 100 * i * MS, seconds, time=times, intensity=intensity))
        assert result.num_sweeps == 2
        assert result.columns == ("x", "y", "z", "intensity")
        np.testing.assert_array_equal(result.newest_points[:, 3], intensity)
        found[deskew] = result
    labels, skewed = found[True].found, found[False].found
    assert isinstance(labels, PointLabels)
    assert isinstance(skewed, PointLabels)
    assert labels.labels.tolist() == [1, 0, 2, 1, 0, 2, 1, 0]
    np.testing.assert_allclose(labels.scores, intensity / 255, rtol=1e-6)
    np.testing.assert_allclose(found[True].newest_points[:, :3], np.tile(POINT, (NUM_SEEN, 1)), atol=0.005)
    assert skewed.labels[0] == NO_LABEL


def test_deskewing_without_a_source_of_motion_is_refused(make_model: Callable[..., Path]) -> None:
    params = DetectorParams(model=str(make_model()), deskew=True, motion_source="none")
    with pytest.raises(ConfigError, match=r"'deskew' received true with motion_source 'none'.*odometry or tf"):
        open_model(params)


def test_a_stamp_near_the_moment_of_training_is_that_moment() -> None:
    assert moment_of(None, "end") == 0.0
