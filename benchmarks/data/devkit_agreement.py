"""The nuScenes metrics against the official devkit: on boxes in memory, and on files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from benchmarks.checks import Context, Row, at_least, at_most, lidarloop
from benchmarks.data import metrics
from benchmarks.samples import boxes_in_world, each
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import write_results
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource
from lidarloop_training.data.nuscenes.reader import NuScenesSource
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from lidarloop_training.toytown.drive import ToyTownDrive

SEED = 0


def devkit_agreement(context: Context) -> Iterator[Row]:
    """Our nuScenes numbers and the devkit's, and the time both take."""
    yield at_most(
        "nuScenes metrics: largest difference from the devkit, 200 cases", metrics.largest_difference_of(200), 1e-6
    )
    figures = metrics.measure_speed(200, 200, SEED)
    yield at_most("the same on 200 samples × 200 boxes", figures["largest_difference"], 1e-6)
    yield at_least("devkit's time / ours on 200 samples × 200 boxes", figures["speed_ratio"], 10)


def evaluate_from_files(context: Context) -> Iterator[Row]:
    """`lidarloop evaluate` and the devkit's DetectionEval, both on the same tables and the same results file."""
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    tables, results, out = (context.scratch / name for name in ("tables", "results.json", "out"))
    write_nuscenes(OfMiniVal(8), tables, keyframe_every=1, cameras=False)
    write_results(results, _noisy_detections(NuScenesSource(tables)), {"frame": "world"})
    lidarloop("evaluate", results, tables, "--out", out)
    ours = json.loads((out / "metrics.json").read_text())
    devkit, config = NuScenes("v1.0-mini", str(tables), verbose=False), config_factory("detection_cvpr_2019")
    theirs, _ = DetectionEval(devkit, config, str(results), "mini_val", str(out / "devkit"), False).evaluate()
    pairs = [(ours["mAP_all_classes"], theirs.mean_ap), (ours["NDS_all_classes"], theirs.nd_score)]
    pairs += zip(ours["errors_all_classes"].values(), theirs.tp_errors.values(), strict=True)
    difference = max(abs(mine - its) for mine, its in pairs)
    yield at_most(f"lidarloop evaluate and DetectionEval on files (mAP {theirs.mean_ap:.3f})", difference, 1e-6)


@dataclass(frozen=True)
class OfMiniVal:
    """A toy-town drive that goes by the name of a scene that the devkit scores."""

    num_frames: int

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Sample:
        return replace(_drive(self.num_frames)[index], scene="scene-0103")

    @property
    def keys(self) -> list[SampleKey]:
        return [key._replace(drive="scene-0103") for key in _drive(self.num_frames).keys]

    def annotations(self, index: int) -> Annotations | None:
        return _drive(self.num_frames).annotations(index)

    def pose(self, index: int) -> LidarPose:
        return _drive(self.num_frames).pose(index)


@lru_cache(maxsize=1)
def _drive(num_frames: int) -> ToyTownDrive:
    return ToyTownDrive(7, duration_s=num_frames / 10, cameras=False)


def _noisy_detections(source: SampleSource) -> dict[str, Boxes3D]:
    """Two thirds of the objects, moved and resized a little, with any score."""
    rng = np.random.default_rng(SEED)
    found = {}
    for sample in each(source):
        boxes = boxes_in_world(sample)
        values = boxes.values + rng.normal(0, (0.4, 0.4, 0.2, 0, 0, 0, 0.2, 0.5, 0.5), boxes.values.shape)
        values[:, 3:6] *= rng.uniform(0.8, 1.2, (len(boxes), 3))
        values[:, 7:9] = np.nan_to_num(values[:, 7:9])
        noisy = Boxes3D(
            values.astype(np.float32), rng.random(len(boxes)).astype(np.float32), boxes.labels, boxes.class_names
        )
        found[sample.token] = noisy[rng.random(len(boxes)) < 2 / 3]
    return found
