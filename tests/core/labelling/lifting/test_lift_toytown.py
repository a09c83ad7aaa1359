"""What the steps beyond the paper are worth, in the field's own measure, on pictures of the toy town."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import LiftingConfig, full_lifting, paper_lifting
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import Sample
from lidarloop_training.evaluation.metrics.matching import GroundTruth
from lidarloop_training.evaluation.metrics.nuscenes import evaluate_detections
from lidarloop_training.pseudolabel.mask_models.toytown import ToyTownMaskModel
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.mask_model import DegradedMasks

Frame = tuple[Sample, dict[str, InstanceMasks]]


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Four frames, two seconds apart, with the masks of a shelf that makes mistakes."""
    drive = ToyTownDrive(2100, duration_s=9.0, num_sweeps=3)
    shelf = ToyTownMaskModel(DegradedMasks(drive))
    samples = [drive[i] for i in range(10, len(drive), 20)]
    return [(s, dict(zip([c.name for c in s.cameras], shelf.find(s.token, s.cameras), strict=True))) for s in samples]


def mean_ap(frames: list[Frame], config: LiftingConfig) -> float:
    lane_map = frames[0][0].lane_map
    assert lane_map is not None
    lanes = LaneLookup(lane_map)
    labels, truth = {}, {}
    for sample, found in frames:
        labels[sample.token] = lift(sample, found, ShapePriors.paper(), config, lanes)[0].boxes
        given = sample.annotations
        assert given is not None
        truth[sample.token] = GroundTruth(given.boxes, given.num_lidar_pts, given.visibility)
    return evaluate_detections(labels, truth).mean_ap


def test_all_steps_together_are_much_better_than_the_paper(frames: list[Frame]) -> None:
    """1.5 times over whole drives; four frames scatter."""
    assert mean_ap(frames, full_lifting()) > 1.25 * mean_ap(frames, paper_lifting())


def test_labels_stand_where_the_objects_are(frames: list[Frame]) -> None:
    off_m = []
    for sample, found in frames:
        labels, _ = lift(sample, found, ShapePriors.paper(), full_lifting())
        truth = sample.annotations
        assert truth is not None
        for center, label in zip(labels.boxes.centers, labels.boxes.labels, strict=True):
            distance_m = np.linalg.norm(truth.boxes.centers - center, axis=1)[truth.boxes.labels == label]
            off_m.append(min(distance_m, default=np.inf))
    assert np.mean(np.array(off_m) < 2.0) > 0.6
    assert np.median(off_m) < 0.7
