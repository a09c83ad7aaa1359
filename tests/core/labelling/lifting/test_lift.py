"""Lifting as a whole, on a synthetic scene with exact masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting.synthetic_scene import synthetic_scene
from lidarloop_core.labelling.lifting_config import LiftingConfig, full_lifting, paper_lifting
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.sample import Sample

Found = dict[str, InstanceMasks]
PRIORS = ShapePriors.paper()


@pytest.fixture(scope="module")
def scene() -> tuple[Sample, Found]:
    return synthetic_scene(90, 3, seed=4)


def matched(sample: Sample, labels: PseudoLabels, within_m: float) -> tuple[float, float]:
    """Precision of the labels, and recall of the objects with three points that a picture shows."""
    truth = sample.annotations
    assert truth is not None
    free = np.ones(len(truth.boxes), np.bool_)
    hits = 0
    for i in np.argsort(-labels.boxes.scores):
        distance = np.linalg.norm(truth.boxes.centers[:, :2] - labels.boxes.centers[i, :2], axis=1)
        distance[(truth.boxes.labels != labels.boxes.labels[i]) | ~free] = np.inf
        if distance.min() < within_m:
            free[distance.argmin()] = False
            hits += 1
    seen = truth.num_lidar_pts >= 3
    return hits / max(1, len(labels)), float((~free & seen).sum() / seen.sum())


def test_the_paper_finds_what_there_is(scene: tuple[Sample, Found]) -> None:
    labels, _ = lift(*scene, PRIORS, paper_lifting())
    precision, recall = matched(scene[0], labels, 2.0)
    assert precision > 0.7
    assert recall > 0.7


def test_the_full_pipeline_finds_it_more_exactly(scene: tuple[Sample, Found]) -> None:
    full, _ = lift(*scene, PRIORS, full_lifting())
    paper, _ = lift(*scene, PRIORS, paper_lifting())
    found, plain = matched(scene[0], full, 0.5), matched(scene[0], paper, 0.5)
    assert found[1] > plain[1] + 0.2
    assert found[0] > 0.6
    truth = scene[0].annotations
    assert truth is not None
    heights = truth.boxes.centers[:, 2] - truth.boxes.dimensions[:, 2] / 2
    bottoms = full.boxes.centers[:, 2] - full.boxes.dimensions[:, 2] / 2
    np.testing.assert_allclose(bottoms, heights.mean(), atol=0.2)


@pytest.mark.parametrize("config", [paper_lifting(), full_lifting()], ids=["paper", "full"])
def test_every_label_says_what_it_rests_on(scene: tuple[Sample, Found], config: LiftingConfig) -> None:
    labels, left_out = lift(*scene, PRIORS, config)
    num_masks = sum(len(masks) for masks in scene[1].values())
    assert len(labels) + left_out.masks.total() >= num_masks
    assert (labels.num_points >= config.min_points).all()
    assert ((labels.quality >= 0) & (labels.quality <= 1)).all()
    assert ((labels.boxes.scores > 0) & (labels.boxes.scores <= np.float32(0.9))).all()
    assert np.isfinite(labels.boxes.values).all()
    assert (labels.boxes.velocities == 0).all()
    names = {camera.name for camera in scene[0].cameras}
    assert all(cameras and set(cameras) <= names for cameras in labels.cameras)
    assert any(len(cameras) > 1 for cameras in labels.cameras) == config.merge_cameras


@pytest.mark.parametrize("config", [replace(paper_lifting(), push_out=False), full_lifting()], ids=["paper", "full"])
def test_where_the_world_begins_does_not_matter(scene: tuple[Sample, Found], config: LiftingConfig) -> None:
    """World coordinates of a large map, and a turn of the world: the boxes stay where they are.

    Not so with the paper's push-out, where no lane tells a yaw: its yaw of 0 is the world's.
    """
    sample, found = scene
    elsewhere = SE3.from_yaw(1.2, (4000.0, -9000.0, 30.0))

    def moved(part: Any) -> Any:
        return replace(part, world_SE3_ego=elsewhere @ part.world_SE3_ego)

    there = replace(sample, sweeps=tuple(map(moved, sample.sweeps)), cameras=tuple(map(moved, sample.cameras)))
    here, _ = lift(sample, found, PRIORS, config)
    labels, _ = lift(there, found, PRIORS, config)
    assert len(labels) == len(here)
    np.testing.assert_allclose(labels.boxes.centers, here.boxes.centers, atol=0.3)


def test_without_ego_motion_the_keyframe_alone_is_lifted(scene: tuple[Sample, Found]) -> None:
    sample, found = scene

    def lost(part: Any) -> Any:
        return replace(part, world_SE3_ego=None)

    still = replace(sample, sweeps=tuple(map(lost, sample.sweeps)), cameras=tuple(map(lost, sample.cameras)))
    labels, left_out = lift(still, found, PRIORS, full_lifting())
    assert left_out.sweeps["no ego-motion"] == 2
    assert not +left_out.cameras
    alone, _ = lift(replace(sample, sweeps=sample.sweeps[:1]), found, PRIORS, full_lifting())
    np.testing.assert_array_equal(labels.num_points, alone.num_points)


def test_missing_sweeps_are_counted(scene: tuple[Sample, Found]) -> None:
    sample, found = scene
    labels, left_out = lift(replace(sample, sweeps=sample.sweeps[:1]), found, PRIORS, paper_lifting())
    assert left_out.sweeps == Counter({"not in the sample": 2})
    assert len(labels) > 0


UNFIT: dict[str, tuple[Callable[[Sample, InstanceMasks], tuple[dict[str, Any], InstanceMasks | None]], str]] = {
    "not calibrated": (lambda s, m: ({"intrinsics": None}, m), "no calibration"),
    "zero K": (lambda s, m: ({"intrinsics": np.zeros((3, 3))}, m), "zero or broken intrinsics"),
    "no pose": (lambda s, m: ({"world_SE3_ego": None}, m), "no ego pose at the exposure"),
    "other size": (lambda s, m: ({}, replace(m, width=800, height=450)), "picture size differs from that of the masks"),
    "no answer": (lambda s, m: ({}, None), "no answer from the 2D model"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_camera_is_left_out_and_counted_and_never_projected(scene: tuple[Sample, Found], name: str) -> None:
    """Its labels are missing, and all others are the same as without it."""
    sample, found = scene
    change, reason = UNFIT[name]
    changed, masks = change(sample, found["CAM_BACK"])
    cameras = tuple(replace(c, **changed) if c.name == "CAM_BACK" else c for c in sample.cameras)
    others = {key: value for key, value in found.items() if key != "CAM_BACK"}
    given = others if masks is None else {**others, "CAM_BACK": masks}
    labels, left_out = lift(replace(sample, cameras=cameras), given, PRIORS, full_lifting())
    assert +left_out.cameras == Counter({reason: 1})
    without = replace(sample, cameras=tuple(c for c in sample.cameras if c.name != "CAM_BACK"))
    expected, _ = lift(without, others, PRIORS, full_lifting())
    np.testing.assert_array_equal(labels.boxes.values, expected.boxes.values)
    assert all("CAM_BACK" not in cameras for cameras in labels.cameras)


def test_masks_of_a_camera_that_is_not_there_are_counted(scene: tuple[Sample, Found]) -> None:
    sample, found = scene
    _, left_out = lift(sample, {**found, "CAM_ROOF": found["CAM_BACK"]}, PRIORS, paper_lifting())
    assert left_out.cameras["masks of a camera that the sample lacks"] == 1


def masks_of(windows: list[MaskWindow], scores: list[float], boxes: np.ndarray | None = None) -> InstanceMasks:
    if boxes is None:
        boxes = np.array([[100 * i, 0, 100 * i + 10, 10] for i in range(len(windows))])
    labels = np.zeros(len(windows), np.int64)
    return InstanceMasks(boxes, np.array(scores), labels, tuple(windows), NUSCENES_CLASSES, 1600, 900)


def test_masks_that_give_no_label_are_counted_by_reason(scene: tuple[Sample, Found]) -> None:
    sample, _ = scene
    empty = MaskWindow(0, 0, np.zeros((0, 0), np.bool_))
    blank = MaskWindow(10, 10, np.zeros((5, 5), np.bool_))
    sky = MaskWindow(700, 0, np.ones((20, 20), np.bool_))
    road = MaskWindow(600, 600, np.ones((200, 300), np.bool_))
    boxes = np.array([[0, 0, 1, 1], [10, 10, 15, 15], [700, 0, 720, 20], *[[600, 600, 900, 800]] * 2, [0, 0, 9, 9]])
    masks = masks_of([empty, blank, sky, road, road, road], [0.9, 0.9, 0.9, 0.9, 0.8, np.nan], boxes)
    found = {camera.name: InstanceMasks.empty(NUSCENES_CLASSES, 1600, 900) for camera in sample.cameras}
    labels, left_out = lift(sample, {**found, "CAM_FRONT": masks}, PRIORS, paper_lifting())
    assert len(labels) == 1
    assert +left_out.masks == Counter(
        {
            "empty mask": 2,
            "no points in the mask": 1,
            "overlaps a better one of its class": 1,
            "score too low": 1,
        }
    )


def test_too_few_points_are_counted(scene: tuple[Sample, Found]) -> None:
    labels, left_out = lift(*scene, PRIORS, replace(paper_lifting(), min_points=20))
    assert left_out.masks["too few points"] > 0
    assert (labels.num_points >= 20).all()


def test_a_mask_that_erosion_would_rob_of_all_points_keeps_its_pixels(scene: tuple[Sample, Found]) -> None:
    """A column two pixels wide has no pixel left after erosion."""
    sample, _ = scene
    thin = MaskWindow(800, 460, np.ones((300, 2), np.bool_))
    labels, _ = lift(sample, {"CAM_FRONT": masks_of([thin], [0.9])}, PRIORS, paper_lifting())
    assert len(labels) == 1


@pytest.mark.parametrize("config", [paper_lifting(), full_lifting()], ids=["paper", "full"])
def test_nothing_seen_is_nothing_found(scene: tuple[Sample, Found], config: LiftingConfig) -> None:
    sample, _ = scene
    nothing = {camera.name: InstanceMasks.empty(NUSCENES_CLASSES, 1600, 900) for camera in sample.cameras}
    labels, left_out = lift(sample, nothing, PRIORS, config)
    assert len(labels) == 0
    assert not +left_out.masks
    assert labels.boxes.class_names == NUSCENES_CLASSES
    blind = replace(sample, cameras=())
    assert len(lift(blind, {}, PRIORS, config)[0]) == 0


@pytest.mark.parametrize("config", [paper_lifting(), full_lifting()], ids=["paper", "full"])
def test_an_empty_keyframe_gives_no_labels(scene: tuple[Sample, Found], config: LiftingConfig) -> None:
    sample, found = scene
    empty = replace(sample, sweeps=(replace(sample.keyframe, points=np.zeros((0, 4), np.float32)),))
    labels, left_out = lift(empty, found, PRIORS, config)
    assert len(labels) == 0
    assert left_out.masks["no points in the mask"] == sum(len(masks) for masks in found.values())
    assert left_out.sweeps["no points in the sweep"] == 1


def test_ground_truth_is_not_looked_at(scene: tuple[Sample, Found]) -> None:
    sample, found = scene
    labels, _ = lift(sample, found, PRIORS, full_lifting())
    blind, _ = lift(replace(sample, annotations=None), found, PRIORS, full_lifting())
    np.testing.assert_array_equal(labels.boxes.values, blind.boxes.values)


def test_classes_must_have_priors_and_be_the_same_for_all_cameras(scene: tuple[Sample, Found]) -> None:
    sample, found = scene
    with pytest.raises(ConfigError, match="no shape prior for"):
        lift(sample, found, ShapePriors({"car": (4.5, 1.8, 1.4)}), paper_lifting())
    other = {**found, "CAM_BACK": InstanceMasks.empty(("car",), 1600, 900)}
    with pytest.raises(ConfigError, match="2 different class lists"):
        lift(sample, other, PRIORS, paper_lifting())


def test_stages_add_up(scene: tuple[Sample, Found]) -> None:
    told: list[tuple[str, float]] = []
    lift(*scene, PRIORS, full_lifting(), on_stage=lambda stage, ms: told.append((stage, ms)))
    stages = {stage for stage, _ in told}
    assert {"accumulate", "ground", "project", "points in masks", "clean", "fuse cameras", "place"} <= stages
    assert all(ms >= 0 for _, ms in told)


@pytest.mark.parametrize(
    "wrong", [{"num_sweeps": 0}, {"min_points": 0}, {"erosion_px": -1}, {"min_score_2d": 1.5}, {"vote_radius": -1.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LiftingConfig(**wrong)


def test_left_out_adds_up() -> None:
    one, other = LeftOut(Counter({"a": 1})), LeftOut(Counter({"a": 2, "b": 1}), sweeps=Counter({"c": 1}))
    assert one + other == LeftOut(Counter({"a": 3, "b": 1}), Counter(), Counter({"c": 1}))
