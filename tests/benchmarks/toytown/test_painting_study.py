"""Painting points with the masks of six pictures: hand-made masks, and a drive's true ones."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.toytown.painting_study import PAINT_COLUMNS, PaintedSource, painted, spec
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_core.sample import Sweep
from lidarloop_training.toytown.camera import CAMERAS, HEIGHT, WIDTH
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.lidar_styles import HDL32E
from lidarloop_training.toytown.masks import InstanceMask


def test_a_point_has_the_best_score_of_each_class_whose_mask_shows_it() -> None:
    left, everywhere = np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)
    left[:, : WIDTH // 2] = True
    masks: list[list[InstanceMask]] = [[] for _ in CAMERAS]
    masks[0] = [
        InstanceMask.of(left, 0, score=0.25),
        InstanceMask.of(everywhere, 0, score=0.125),
        InstanceMask.of(left, 5, score=0.75),
    ]
    ahead_left, ahead_right, behind = (20.0, 1.0, 0.0), (20.0, -1.0, 0.0), (-20.0, 0.0, 0.0)
    points = np.array([(*p, 7.0) for p in (ahead_left, ahead_right, behind)], np.float32)
    scores = painted(Sweep(points, ("x", "y", "z", "intensity"), 0, HDL32E.ego_SE3_lidar, None), masks)
    expected = np.zeros((3, 10))
    expected[0, [0, 5]], expected[1, 0] = (0.25, 0.75), 0.125
    np.testing.assert_array_equal(scores, expected)


def test_points_of_an_actor_get_its_class_from_true_masks() -> None:
    drive = ToyTownDrive(1, style="lookalikes")
    index = next(i for i in range(200) if np.linalg.norm(drive.town.ego.velocity(drive.time_s(i))) < 0.01)
    sweep, scan = drive[index].keyframe, drive.scan(index)
    scores = painted(sweep, [drive.instance_masks(index, camera.name) for camera in CAMERAS])
    on_actors = np.flatnonzero(scan.actor >= 0)
    labels = np.array([actor.label for actor in drive.town.actors])[scan.actor[on_actors]]
    assert (scores[on_actors, labels] == 1).mean() > 0.7
    on_clutter = np.flatnonzero((scan.actor < 0) & (scan.points[:, 2] > -1.5))
    assert scores[on_clutter].any(axis=1).mean() < 0.15


def test_painted_samples_give_the_network_its_columns() -> None:
    drive = ToyTownDrive(1, cameras=False, style="lookalikes")
    num_points = len(drive[3].keyframe.points)
    scores = np.random.default_rng(0).random((num_points, 10)).astype(np.float16)
    source = PaintedSource(drive, {drive.token(3): scores})
    columns = spec("painted points").point_columns
    assert columns[-10:] == PAINT_COLUMNS
    points = network_points(source[3].sweeps, columns, {})
    np.testing.assert_array_equal(points[:, -10:], scores.astype(np.float32))
    np.testing.assert_array_equal(network_points(source[3].sweeps, spec("points").point_columns, {}), points[:, :-10])
    assert source.keys == drive.keys
