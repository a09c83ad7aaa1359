from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import corners
from lidarloop_training.toytown.camera import CAMERAS, HEIGHT, WIDTH
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.faults.rates import FaultRates
from lidarloop_training.toytown.lidar_styles import HDL32E
from lidarloop_training.toytown.mask_model import DegradedMasks, degraded
from lidarloop_training.toytown.masks import InstanceMask

INDEX = 60


@pytest.fixture(scope="module")
def drive() -> ToyTownDrive:
    return ToyTownDrive(1)


def test_six_pictures_with_sky_above_and_street_below(drive: ToyTownDrive) -> None:
    sample = drive[INDEX]
    assert len(sample.cameras) == 6
    for image in sample.cameras:
        rgb = image.load()
        assert rgb.shape == (HEIGHT, WIDTH, 3)
        assert rgb.dtype == np.uint8
        assert rgb.std() > 10
    assert drive.picture(INDEX, "CAM_BACK").rgb[:5].mean(axis=(0, 1))[2] > 120


def test_masks_lie_within_projected_boxes_and_fill_them(drive: ToyTownDrive) -> None:
    compared, filled = 0, []
    for index in (20, INDEX, 110, 160):
        annotations = drive[index].annotations
        assert annotations is not None
        place = {name: k for k, name in enumerate(annotations.instance_ids)}
        all_corners = corners(annotations.boxes.values.astype(float))
        for camera in CAMERAS:
            camera_SE3_lidar = camera.ego_SE3_camera.inverse() @ HDL32E.ego_SE3_lidar
            for mask in drive.instance_masks(index, camera.name):
                if mask.instance_id not in place:
                    continue  # beyond the range of annotations
                k = place[mask.instance_id]
                points = camera_SE3_lidar.transform(all_corners[k])
                if points[:, 2].min() < 0.3:
                    continue
                pixels = points @ camera.intrinsics.T
                # A mask's box counts from the first pixel's corner, a projection from its centre.
                pixels = np.clip(pixels[:, :2] / pixels[:, 2:] + 0.5, 0, (WIDTH, HEIGHT))
                low, high = pixels.min(axis=0), pixels.max(axis=0)
                assert (mask.box[:2] >= low - 1.5).all()
                assert (mask.box[2:] <= high + 1.5).all()
                compared += 1
                if annotations.visibility[k] > 0.99 and mask.label < 4:  # cars to trailers fill their cuboid's corners
                    filled.append((mask.box[2] - mask.box[0]) / (high[0] - low[0]))
    assert compared > 40
    assert len(filled) > 5
    assert np.median(filled) > 0.9


def test_lidar_points_of_an_actor_fall_into_its_mask(drive: ToyTownDrive) -> None:
    """Where the ego stands the cloud is not skewed: points and pixels of one thing must meet."""
    index = next(i for i in range(200) if np.linalg.norm(drive.town.ego.velocity(drive.time_s(i))) < 0.01)
    scan, agreed, total = drive.scan(index), 0, 0
    off_m: list[float] = []
    parked = np.array([not a.track.moves for a in drive.town.actors])
    for camera in CAMERAS:
        mine = (scan.actor >= 0) & parked[scan.actor]
        lidar_SE3_camera = HDL32E.ego_SE3_lidar.inverse() @ camera.ego_SE3_camera
        points = lidar_SE3_camera.inverse().transform(scan.points[mine, :3].astype(float))
        ahead = points[:, 2] > 0.5
        pixels = points[ahead] @ camera.intrinsics.T
        column, row = np.rint(pixels[:, :2] / pixels[:, 2:]).astype(int).T
        inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
        shown = drive.picture(index, camera.name)
        same = shown.actor[row[inside], column[inside]] == scan.actor[mine][ahead][inside]
        agreed += int(same.sum())
        total += int(inside.sum())
        expected_m = np.linalg.norm(points[ahead][inside][same], axis=1)
        off_m += np.abs(shown.distance[row[inside], column[inside]][same] - expected_m).tolist()
    assert total > 100
    assert agreed / total > 0.8  # the rest is seen past an edge from one sensor and not from the other
    assert np.median(off_m) < 0.06  # half a pixel aside it is 0.15 m


def test_an_unknown_camera_is_named(drive: ToyTownDrive) -> None:
    with pytest.raises(ConfigError, match="CAM_FRONT"):
        drive.instance_masks(0, "CAM_TOP")


@given(mask=hnp.arrays(bool, (9, 14)))
@settings(max_examples=50, deadline=None)
def test_masks_survive_their_run_lengths(mask: np.ndarray) -> None:
    mask = mask.copy()
    mask[3, 5] = True
    encoded = InstanceMask.of(mask, 2, "bus-01", 0.5)
    again = InstanceMask.from_coco(json.loads(json.dumps(encoded.as_coco())))
    assert again == encoded
    np.testing.assert_array_equal(again.mask, mask)
    assert encoded.num_pixels == mask.sum()
    x_min, y_min, x_max, y_max = (int(v) for v in encoded.box)
    outside = mask.copy()
    outside[y_min:y_max, x_min:x_max] = False
    assert not outside.any()


def squares(count: int) -> list[InstanceMask]:
    """Masks of one class in a row, six pixels wide with two between them."""
    masks = []
    for k in range(count):
        mask = np.zeros((40, 8 * count + 40), bool)
        mask[10:30, 20 + 8 * k : 26 + 8 * k] = True
        masks.append(InstanceMask.of(mask, 0, f"car-{k:02d}"))
    return masks


NO_FAULTS = FaultRates(missed=0, merged=0, mislabelled=0, loose=0)


def test_a_faultless_mask_model_shows_the_truth_without_names() -> None:
    truth = squares(5)
    seen = degraded(truth, NO_FAULTS, np.random.default_rng(0))
    assert sorted(m.counts for m in seen) == sorted(m.counts for m in truth)
    assert {m.instance_id for m in seen} == {""}
    assert [m.score for m in seen] == sorted((m.score for m in seen), reverse=True)


def test_faults_come_at_their_rates() -> None:
    truth = squares(200)
    rng = np.random.default_rng(0)
    missed = degraded(truth, FaultRates(missed=0.3, merged=0, mislabelled=0, loose=0), rng)
    assert len(missed) == pytest.approx(140, abs=25)
    wrong = degraded(truth, FaultRates(missed=0, merged=0, mislabelled=0.2, loose=0), rng)
    assert sum(m.label != 0 for m in wrong) == pytest.approx(40, abs=20)
    merged = degraded(truth, FaultRates(missed=0, merged=1, mislabelled=0, loose=0), rng)
    assert len(merged) == 100
    assert sum(m.num_pixels for m in merged) == sum(m.num_pixels for m in truth)
    loose = degraded(truth, FaultRates(missed=0, merged=0, mislabelled=0, loose=1), rng)
    assert all(m.num_pixels > 120 for m in loose)
    assert all(m.box[2] - m.box[0] > 6 for m in loose)


def test_a_mask_model_fails_the_same_way_again(drive: ToyTownDrive) -> None:
    first = DegradedMasks(drive, seed=1).masks(INDEX, "CAM_BACK")
    assert first == DegradedMasks(ToyTownDrive(1), seed=1).masks(INDEX, "CAM_BACK")
    assert first != DegradedMasks(drive, seed=2).masks(INDEX, "CAM_BACK")
    assert all(m.num_pixels > 0 for m in first)


@given(rate=st.one_of(st.floats(-5, -0.01), st.floats(1.01, 5)))
def test_a_rate_is_a_probability(rate: float) -> None:
    with pytest.raises(ConfigError, match="missed"):
        FaultRates(missed=rate)
