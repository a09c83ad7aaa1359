"""Scores of labels whose errors are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.streets.label_scores import ClassScore, Labels, ScoredSample, doubles, interruptions, score_labels
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import Annotations, CameraImage, Sweep

CAR = NUSCENES_CLASSES.index("car")
PLACES = ((10.0, 0.0), (20.0, 5.0), (30.0, -5.0))


def cars(places: tuple[tuple[float, float], ...], yaw: float = 0.0, score: float = 0.9) -> Boxes3D:
    values = np.array([(x, y, -1.0, 4.5, 1.8, 1.5, yaw, 0.0, 0.0) for x, y in places]).reshape(-1, 9)
    return Boxes3D(values, np.full(len(values), score), np.full(len(values), CAR), NUSCENES_CLASSES)


def sample(token: str = "a", *, front: bool = False, unlabelled: npt.NDArray[np.float64] | None = None) -> ScoredSample:
    count = len(PLACES)
    truth = Annotations(
        cars(PLACES), tuple(f"car-{i}" for i in range(count)), np.full(count, 9), np.full(count, np.nan, np.float32)
    )
    keyframe = Sweep(np.zeros((0, 4), np.float32), ("x", "y", "z", "intensity"), 0, SE3.identity(), None)
    camera = _camera() if front else None
    return ScoredSample(token, truth, camera, keyframe, np.zeros((0, 4)) if unlabelled is None else unlabelled)


def _camera() -> CameraImage:
    """Looks along the LiDAR's x, 100 pixels wide and high, 90° of view."""
    forward = SE3(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
    intrinsics = np.array([[50.0, 0, 50], [0, 50, 50], [0, 0, 1]])
    return CameraImage("CAM_FRONT", lambda: np.zeros((100, 100, 3), np.uint8), intrinsics, 100, 100, 0, forward, None)


def scored(boxes: Boxes3D, one: ScoredSample | None = None, num_points: int = 5) -> ClassScore:
    one = one or sample()
    return score_labels([one], {one.token: Labels(boxes, np.full(len(boxes), num_points))})["car"]


def test_true_labels_have_no_error() -> None:
    found = scored(cars(PLACES))
    assert (found.precision, found.recall, found.centre_m, found.turned) == (1, 1, 0, 0)
    assert found.ap_2m == pytest.approx(1.0)
    assert (found.doubles, found.interruptions, found.filled) == (0, 0, 0)


def test_errors_of_size_and_heading_are_those_made() -> None:
    boxes = cars(PLACES, yaw=np.pi - 0.1)
    boxes.values[:, 3] -= 0.5
    boxes.values[:, 2] += 0.35
    found = scored(boxes)
    assert (found.length_m, found.longer_m, found.above_m) == pytest.approx((0.5, -0.5, 0.35), abs=1e-5)
    assert (found.axis_rad, found.heading_rad, found.turned) == pytest.approx((0.1, np.pi - 0.1, 1.0), abs=1e-5)


def test_labels_below_the_least_score_count_for_average_precision_alone() -> None:
    found = scored(cars(PLACES, score=0.04))
    assert (found.labels, found.recall) == (0, 0.0)
    assert found.ap_2m == pytest.approx(1.0)


def test_beyond_the_image_and_in_unlabelled_regions_wrong_labels_do_not_count() -> None:
    wrong = ((-10.0, 0.0), (10.0, 30.0), (40.0, 0.0))  # behind, beside, straight ahead
    assert scored(cars(PLACES + wrong), sample(front=True)).labels == 4
    ahead = np.array([[45.0, 0.0, 55.0, 99.0]])
    found = scored(cars(PLACES + wrong), sample(front=True, unlabelled=ahead))
    assert (found.labels, found.recall) == (3, 1.0)  # the object ahead still counts


def test_doubles_are_those_that_overlap_at_all() -> None:
    assert doubles([cars(((10.0, 0.0), (12.0, 0.0), (30.0, 0.0))), cars(((10.0, 0.0),))]) == pytest.approx(0.5)
    assert doubles([cars(((10.0, 0.0), (14.6, 0.0)))]) == 0.0
    assert np.isnan(doubles([]))


@pytest.mark.parametrize(("frames", "expected"), [("1", 0), ("0110", 0), ("1011", 1), ("10101", 2)])
def test_interruptions_are_runs_but_one(frames: str, expected: int) -> None:
    assert interruptions(np.array([c == "1" for c in frames])) == expected
