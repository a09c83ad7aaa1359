"""Detections and ground truth meet in one frame of reference, whichever the results are in."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.io.results import results_frame
from lidarloop_training.evaluation.samples import SampleRecord, read_samples, spread
from tests.training.evaluation.synthetic_drive import detect, make_drive


@pytest.mark.parametrize("ego_motion", [True, False])
def test_the_ego_vehicle_is_the_origin_of_the_level_frame(ego_motion: bool) -> None:
    frame = SampleRecord.of(make_drive(2, ego_motion=ego_motion)[1], 1)
    assert frame.level_SE3_lidar.translation == pytest.approx(
        frame.level_SE3_ego.rotation @ frame.ego_SE3_lidar.translation
    )
    assert frame.ground_truth().ego_xy_m == pytest.approx([0, 0])


@pytest.mark.parametrize("name", ["world", "lidar"])
def test_perfect_detections_lie_on_the_ground_truth(name: str) -> None:
    source = make_drive(3)
    results = detect(source, name, noise_m=0.0)
    for frame in read_samples(source):
        detected, truth = frame.to_level(results[frame.token], name), frame.ground_truth().boxes
        np.testing.assert_allclose(detected.values, truth.values, atol=2e-4)  # float32 at 500 m from the origin
        in_ego = frame.annotations.boxes.transformed(frame.ego_SE3_lidar)
        np.testing.assert_allclose(frame.to_ego(results[frame.token], name).values, in_ego.values, atol=2e-4)


def test_the_level_frame_keeps_the_worlds_axes() -> None:
    frame = SampleRecord.of(make_drive(3)[2], 2)
    world_SE3_lidar = frame.world_SE3_ego @ frame.ego_SE3_lidar
    world = frame.annotations.boxes.transformed(world_SE3_lidar)
    level = frame.ground_truth().boxes
    np.testing.assert_allclose(level.yaws, world.yaws, atol=1e-6)
    np.testing.assert_allclose(level.centers + frame.world_SE3_ego.translation, world.centers, atol=1e-3)


def test_world_results_need_ego_motion() -> None:
    results = detect(make_drive(1), "world")
    frame = SampleRecord.of(make_drive(1, ego_motion=False)[0], 0)
    with pytest.raises(DatasetError, match="has no ego pose"):
        frame.to_level(results[frame.token], "world")


def test_the_frame_named_in_the_results() -> None:
    assert results_frame({"frame": "lidar"}) == "lidar"
    assert results_frame({}) == "world"  # what nuScenes submissions are in
    with pytest.raises(DatasetError, match="'camera'; expected 'world' or 'lidar'"):
        results_frame({"frame": "camera"})


def test_spread() -> None:
    assert spread(10, 3) == [0, 4, 9]
    assert spread(2, 5) == [0, 1]
    assert spread(0, 5) == []
