from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.cli import main
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.bag import BagReader
from lidarloop_core.sample import CameraImage, Sample, Sweep
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.views.ego_motion import LidarOdometry, WithEgoMotion
from tests.training.sources import MadeSource, assert_names_labels_and_poses_need_no_cloud

pytest.importorskip("kiss_icp", reason="kiss-icp is not installed")

EGO_SE3_LIDAR = SE3.from_yaw(0.3, (0.9, 0.1, 1.8))
MS = 1_000_000


def _path_length(positions: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


@dataclasses.dataclass(frozen=True)
class Room(MadeSource):
    """A drive with poses known in closed form through a hall of random pillars, and a picture between the sweeps."""

    num_frames: int = 8
    scene: str = "hall"
    has_poses: bool = False

    def __len__(self) -> int:
        return self.num_frames

    def world_SE3_ego(self, seconds: float) -> SE3:
        return SE3.from_yaw(0.3 * seconds, (4.0 * seconds, 0.5 * seconds, 0.0))

    def __getitem__(self, index: int) -> Sample:
        stamp_ns = 100 * MS * index
        rng = np.random.default_rng(3)
        feet = rng.uniform(-30, 30, (80, 1, 2)) + rng.uniform(-0.2, 0.2, (80, 150, 2))
        pillars = np.dstack([feet, rng.uniform(0, 4, (80, 150, 1))]).reshape(-1, 3)
        ground = np.column_stack([rng.uniform(-30, 30, (8000, 2)), np.zeros(8000)])
        pose = self.world_SE3_ego(0.1 * index)
        xyz = (pose @ EGO_SE3_LIDAR).inverse().transform(np.concatenate([pillars, ground]))
        points = np.column_stack([xyz, np.zeros(len(xyz))]).astype(np.float32)
        known = pose if self.has_poses else None
        sweep = Sweep(points, ("x", "y", "z", "intensity"), stamp_ns, EGO_SE3_LIDAR, known)
        image = CameraImage("CAM_FRONT", _black, np.eye(3), 4, 4, stamp_ns + 25 * MS, SE3.identity(), known)
        return Sample(f"{self.scene}-{index}", self.scene, stamp_ns, (sweep,), (image,))


def _black() -> np.ndarray:
    return np.zeros((4, 4, 3), np.uint8)


def test_poses_of_a_known_drive() -> None:
    room = Room()
    posed = WithEgoMotion(room)
    assert len(posed) == len(room)
    np.testing.assert_allclose(posed[0].keyframe.world_SE3_ego.matrix, np.eye(4), atol=1e-12)
    for i in range(len(room)):
        sample, true = posed[i], room.world_SE3_ego(0.1 * i)
        np.testing.assert_array_equal(sample.keyframe.points, room[i].keyframe.points)
        np.testing.assert_allclose(sample.keyframe.world_SE3_ego.translation, true.translation, atol=0.05)
        np.testing.assert_allclose(sample.keyframe.world_SE3_ego.yaw_rad, true.yaw_rad, atol=0.005)
        # The last picture is a quarter of a sweep after the last cloud.
        between = room.world_SE3_ego(0.1 * i + 0.025)
        np.testing.assert_allclose(sample.cameras[0].world_SE3_ego.translation, between.translation, atol=0.08)


class TwoScenes(MadeSource):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Sample:
        return Room(scene="ab"[index // 3])[index % 3]


def test_each_scene_starts_anew_and_equal_clouds_give_equal_poses() -> None:
    posed = pickle.loads(pickle.dumps(WithEgoMotion(TwoScenes())))
    for i in range(3):
        first, second = (posed[j].keyframe.world_SE3_ego.matrix for j in (i, i + 3))
        np.testing.assert_array_equal(first, second)


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(DatasetError, match="sample hall-0 has a pose already"):
        WithEgoMotion(Room(has_poses=True))

    class Backwards(Room):
        def __getitem__(self, index: int) -> Sample:
            return super().__getitem__(5 - index)

    with pytest.raises(DatasetError, match="in order of time"):
        WithEgoMotion(Backwards())
    sweep = Room()[0].keyframe
    with pytest.raises(DatasetError, match="empty cloud"):
        LidarOdometry().register(dataclasses.replace(sweep, points=sweep.points[:0]))


@pytest.mark.real
def test_as_the_library_on_a_real_drive(real_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from kiss_icp.config import load_config
    from kiss_icp.datasets.generic import GenericDataset
    from kiss_icp.kiss_icp import KissICP

    root = real_data / "kitti_raw_sequence"
    assert main(["convert", "kitti-raw", str(root), str(tmp_path / "drive.mcap"), "--ego-motion", "kiss-icp"]) == 0
    with BagReader(tmp_path / "drive.mcap") as bag:
        assert {"/odom", "/tf"} <= set(bag.topics)
        assert bag.message_counts["/odom"] >= 12
    source = BagSource(tmp_path / "drive.mcap", num_sweeps=3)
    assert len(source) == 12
    assert len(source[11].sweeps) == 3
    poses = [source[i].keyframe.world_SE3_ego for i in range(12)]
    mounting = source[0].keyframe.ego_SE3_lidar
    ours = np.array([(mounting.inverse() @ pose @ mounting).translation for pose in poses])
    library, clouds = KissICP(load_config(None)), GenericDataset(root / "velodyne_points")
    expected = []
    for i in range(12):
        library.register_frame(*clouds[i])
        expected.append(library.last_pose[:3, 3].copy())
    path_length = _path_length(np.array(expected))
    error = np.linalg.norm(ours - expected, axis=1).max() / path_length
    with capfd.disabled():
        print(f"\nKITTI raw: {path_length:.2f} m, at most {error:.2e} of it from the library's own run")
    assert error < 0.01


def test_drift_on_a_toy_drive(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("embreex", reason="the toy town's ray caster is not installed")
    from lidarloop_training.toytown.drive import ToyTownDrive

    drive, odometry = ToyTownDrive(5, duration_s=3.0, cameras=False), LidarOdometry()
    sweeps = [drive[i].keyframe for i in range(len(drive))]
    estimated = np.array([odometry.register(sweep).translation for sweep in sweeps])
    start = sweeps[0].world_SE3_ego.inverse()
    true = np.array([(start @ sweep.world_SE3_ego).translation for sweep in sweeps])
    drift = np.linalg.norm(estimated[-1] - true[-1]) / _path_length(true)
    with capsys.disabled():
        print(f"\ntoy town: {_path_length(true):.1f} m, drift {drift:.2%}")
    assert drift < 0.03


def test_names_and_poses_need_no_further_cloud() -> None:
    assert_names_labels_and_poses_need_no_cloud(WithEgoMotion(Room()))
