from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.lifting_config import full_lifting, paper_lifting
from lidarloop_core.labelling.points.frustum import view
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import Sample
from lidarloop_training.data.drive_spec import ToyTown
from lidarloop_training.pseudolabel.camera_only import MAX_DEPTH_M, STRIDE_PX, DepthLifter, with_points_from
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.mask_model_choice import OnnxMaskModelSpec, ToyTownMaskModelSpec
from lidarloop_training.pseudolabel.mask_models.toytown_depth import DepthFaults, ToyTownDepth, true_depth
from lidarloop_training.pseudolabel.variants import MaskLifter, open_lifter
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.faults.rates import FaultRates

INDEX = 30
FLAWLESS = DepthFaults(0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def drive() -> ToyTownDrive:
    return ToyTownDrive(3000)


@pytest.fixture(scope="module")
def sample(drive: ToyTownDrive) -> Sample:
    return drive[INDEX]


def test_points_fall_back_on_the_pixels_they_came_from(sample: Sample) -> None:
    camera = sample.cameras[2]
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    depth[40, 100], depth[120, 301 - 1], depth[121, 7], depth[60, 60] = 12.0, 30.0, 5.0, MAX_DEPTH_M + 1

    lifted = with_points_from(dataclasses.replace(sample, cameras=(camera,)), [depth])

    seen = view(lifted.keyframe.points, camera, sample.keyframe, 1.0)
    assert STRIDE_PX == 2  # (121, 7) is passed over, (60, 60) is too far
    np.testing.assert_allclose(seen.pixels, [[100, 40], [300, 120]], atol=1e-3)
    np.testing.assert_allclose(seen.depth_m, [12.0, 30.0], rtol=1e-5)
    assert lifted.cameras == (camera,)


def test_true_depth_puts_points_where_the_lidar_has_them(drive: ToyTownDrive, sample: Sample) -> None:
    depths = ToyTownDepth(drive, FLAWLESS).depth(sample.token, sample.cameras)
    points = with_points_from(sample, depths).keyframe.points

    from scipy.spatial import cKDTree

    scan = sample.keyframe.points[:, :3]
    near = np.linalg.norm(scan, axis=1) < 20
    for camera, depth in zip(sample.cameras, depths, strict=True):
        seen = view(scan[near], camera, sample.keyframe, 3.0)
        u, v = np.floor(seen.pixels).astype(int).T
        assert np.median(np.abs(depth[v, u] - seen.depth_m) / seen.depth_m) < 0.02
    assert np.median(cKDTree(points).query(scan[near])[0]) < 0.25


def test_depth_is_distance_along_the_axis() -> None:
    intrinsics = np.array([[100.0, 0, 50.0], [0, 100.0, 30.0], [0, 0, 1]])
    rng = np.random.default_rng(0)
    depth = rng.uniform(5, 50, (60, 100))
    u, v = np.meshgrid(np.arange(100) + 0.5, np.arange(60) + 0.5)
    points = np.stack([(u - 50) / 100 * depth, (v - 30) / 100 * depth, depth], axis=-1)

    np.testing.assert_allclose(true_depth(np.linalg.norm(points, axis=-1), intrinsics), depth)


def test_depth_faults_have_the_size_they_are_said_to_have(drive: ToyTownDrive, sample: Sample) -> None:
    cameras = sample.cameras

    def errors(faults: DepthFaults) -> np.ndarray:
        true = ToyTownDepth(drive, FLAWLESS).depth(sample.token, cameras)
        wrong = ToyTownDepth(drive, faults).depth(sample.token, cameras)
        return np.concatenate([np.log(w[np.isfinite(t)] / t[np.isfinite(t)]) for w, t in zip(wrong, true, strict=True)])

    assert errors(DepthFaults(0.0, 0.0, 0.1, 0.0)).std() == pytest.approx(0.1, rel=0.05)
    scaled = errors(DepthFaults(0.1, 0.0, 0.0, 0.0))
    assert 1 < len(np.unique(scaled.round(4))) <= 12  # one factor a picture
    again = ToyTownDepth(drive).depth(sample.token, cameras)
    for first, second in zip(again, ToyTownDepth(drive).depth(sample.token, cameras), strict=True):
        np.testing.assert_array_equal(first, second)


def test_depth_lifts_as_a_lidar_does(drive: ToyTownDrive, sample: Sample) -> None:
    """With flawless masks and depth, most of what the LiDAR's points give, the camera's give too."""
    spec = ToyTownMaskModelSpec(faults=FaultRates(0, 0, 0, 0, 0))
    mask_model, priors = spec.open(drive), ShapePriors.paper()

    by_lidar, _ = MaskLifter(mask_model, priors, paper_lifting())(sample, None)
    by_depth, _ = DepthLifter(mask_model, ToyTownDepth(drive, FLAWLESS), priors, full_lifting())(sample, None)

    near = np.linalg.norm(by_lidar.boxes.centers, axis=1) < 25
    away = np.linalg.norm(by_lidar.boxes.centers[near, None, :2] - by_depth.boxes.centers[None, :, :2], axis=-1)
    assert near.sum() > 5
    assert (away.min(axis=1) < 3.0).mean() > 0.7
    assert not np.isin(by_lidar.num_points, by_depth.num_points).all()


def test_a_camera_without_calibration_is_left_out(drive: ToyTownDrive, sample: Sample) -> None:
    broken = dataclasses.replace(sample.cameras[0], intrinsics=np.zeros((3, 3)))
    cameras = (broken, *sample.cameras[1:])
    lifter = DepthLifter(ToyTownMaskModelSpec().open(drive), ToyTownDepth(drive), ShapePriors.paper(), full_lifting())

    _, left_out = lifter(dataclasses.replace(sample, cameras=cameras), None)

    assert left_out.cameras.total() == 1


def test_a_mask_model_without_depth_is_refused(drive: ToyTownDrive) -> None:
    with pytest.raises(ConfigError, match="sees no depth"):
        OnnxMaskModelSpec().open_depth(drive)


def test_the_job_chooses_the_lifter(drive: ToyTownDrive) -> None:
    names = {}
    for sensors in ("lidar-camera", "lidar", "camera"):
        job = LabelJob(ToyTown(3000), ToyTownMaskModelSpec(), sensors=sensors)
        names[sensors] = type(open_lifter(job, drive)).__name__

    assert names == {"lidar-camera": "MaskLifter", "lidar": "ClusterLifter", "camera": "DepthLifter"}
    with pytest.raises(ConfigError, match="without a mask model"):
        open_lifter(LabelJob(ToyTown(3000), None), drive)
    with pytest.raises(ConfigError, match="another source"):
        ToyTownMaskModelSpec().open(SE3.identity())  # type: ignore[arg-type]
