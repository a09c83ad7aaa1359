"""What refinement is worth, in the field's own measure, on a drive through the toy town."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.refine import refine
from lidarloop_core.sample import Sample
from lidarloop_training.evaluation.metrics.matching import GroundTruth
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics, evaluate_detections
from lidarloop_training.toytown.drive import ToyTownDrive

CAR, TRUCK = NUSCENES_CLASSES.index("car"), NUSCENES_CLASSES.index("truck")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Eight seconds at two frames a second."""
    drive = ToyTownDrive(3100, duration_s=8.0, cameras=False)
    return [drive[i] for i in range(0, len(drive), 5)]


def noisy(sample: Sample, random: np.random.Generator) -> PseudoLabels:
    """The truth with a fifth missed, places 0.4 m off, some cars called trucks, and things that are not there."""
    annotations = sample.annotations
    assert annotations is not None
    found = (annotations.num_lidar_pts > 0) & (random.random(len(annotations.boxes)) > 0.2)
    boxes = annotations.boxes[found]
    num_ghosts = 3
    ghosts = np.zeros((num_ghosts, 9))
    ghosts[:, :2] = random.uniform(-30, 30, (num_ghosts, 2))
    ghosts[:, 3:6] = (4.5, 1.8, 1.5)
    values = np.concatenate([boxes.values, ghosts])
    values[:, :2] += random.normal(0, 0.3, (len(values), 2))
    values[:, 6] += np.pi * random.integers(0, 2, len(values))
    values[:, 7:] = 0.0
    labels = np.append(boxes.labels, np.full(num_ghosts, CAR))
    flipped = (labels == CAR) & (random.random(len(labels)) < 0.15)
    labels[flipped] = TRUCK
    scores = np.where(flipped, random.beta(3, 4, len(labels)), random.beta(7, 2, len(labels)))
    return PseudoLabels(
        Boxes3D(values, scores, labels, NUSCENES_CLASSES),
        scores.astype(np.float32),
        np.append(annotations.num_lidar_pts[found], np.full(num_ghosts, 5)),
        (("CAM_FRONT",),) * len(labels),
        ("box_fit",) * len(labels),
    )


def scored(labels: list[PseudoLabels], samples: list[Sample]) -> DetectionMetrics:
    truth = {
        s.token: GroundTruth(s.annotations.boxes, s.annotations.num_lidar_pts, s.annotations.visibility)
        for s in samples
        if s.annotations is not None
    }
    return evaluate_detections({s.token: p.boxes for s, p in zip(samples, labels, strict=True)}, truth)


def test_refined_labels_score_better(samples: list[Sample]) -> None:
    random = np.random.default_rng(0)
    labels = [noisy(sample, random) for sample in samples]
    poses = [s.keyframe.world_SE3_ego @ s.keyframe.ego_SE3_lidar for s in samples if s.keyframe.world_SE3_ego]
    stamps_ns = [s.stamp_ns for s in samples]

    def cloud(frame: int) -> np.ndarray:
        return samples[frame].keyframe.points

    before = scored(labels, samples)
    blind = scored(refine(labels, stamps_ns, poses), samples)
    after = scored(refine(labels, stamps_ns, poses, cloud_of=cloud), samples)
    assert blind.mean_ap > 1.1 * before.mean_ap
    assert after.mean_ap > 1.25 * before.mean_ap
    assert after.nds > 1.3 * before.nds
    for error in ("ATE", "AVE"):
        assert after.errors[error] < before.errors[error]

    plain = scored(refine(labels, stamps_ns, poses, RefineConfig(rescore=False), cloud), samples)
    assert plain.mean_ap < after.mean_ap
