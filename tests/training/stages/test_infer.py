from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.pointcloud.grouping import group_pillars  # noqa: E402
from lidarloop_core.pointcloud.sweeps import merge_sweeps  # noqa: E402
from lidarloop_training.models.detector import PillarDetector  # noqa: E402
from lidarloop_training.stages.infer import SampleDetector, TorchBackend  # noqa: E402


@pytest.fixture
def detector(spec, network_config):
    torch.manual_seed(0)
    return PillarDetector(spec, network_config).eval()


def test_backend_gives_what_the_network_decodes(detector, spec, box_scenes):
    sample = box_scenes()[0]
    index = group_pillars(merge_sweeps(sample.sweeps, spec.point_columns), spec.pillars)
    inputs = {"points": index.points, "slot": index.slot, "cell": index.cell, "count": index.count}
    found = TorchBackend(detector).infer(inputs)
    with torch.no_grad():
        wanted = detector.head.decode(detector(*map(torch.from_numpy, inputs.values())))
    assert tuple(found) == ("boxes", "scores", "labels")
    for name, value in wanted._asdict().items():
        np.testing.assert_array_equal(found[name], value.numpy())


def test_detections_are_above_the_threshold_best_first_and_annotations_do_not_matter(detector, box_scenes):
    sample = box_scenes()[0]
    find = SampleDetector(detector, score_threshold=0.05)
    boxes = find(sample)
    assert len(boxes) > 0
    assert (np.diff(boxes.scores) <= 0).all()
    assert boxes.scores.min() >= 0.05
    unlabelled = find(dataclasses.replace(sample, annotations=None))
    np.testing.assert_array_equal(unlabelled.values, boxes.values)


def test_only_the_sweeps_the_network_was_made_for_are_used(detector, box_scenes):
    sample = box_scenes()[0]
    older = dataclasses.replace(sample.sweeps[1], stamp_ns=sample.sweeps[1].stamp_ns - 10**8)
    more = dataclasses.replace(sample, sweeps=(*sample.sweeps, older))
    find = SampleDetector(detector, score_threshold=0.05)
    np.testing.assert_array_equal(find(more).values, find(sample).values)
