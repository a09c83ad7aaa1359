"""Pseudo-labels on real photographs: small off-the-shelf networks' masks, lifted with one sweep and no map.

    python -m benchmarks.pseudolabels.real_keyframe    # both tables and the pictures, into out/checks/real_keyframe

One setting serves both data sets: the defaults of mask model and lifting. The score threshold is stated in the
rows, and figures for others beside it: an operating point that is good by chance stands alone.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.checks import Context, Row, all_of, at_least, at_most, report_only, run_checks
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import LiftingConfig, full_lifting, paper_lifting
from lidarloop_core.labelling.mask_models.onnx_mask_model import OnnxMaskModel, open_onnx_mask_model
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource
from lidarloop_training.evaluation.metrics.matching import UNMATCHED, DetectionConfig, GroundTruth, match_detections
from lidarloop_training.viewer.frames import ShownFrame
from lidarloop_training.viewer.sheet import draw_sheet

MIN_SCORE_2D = 0.2
OTHER_SCORES = (0.1, 0.15, 0.25)
MATCH_M = 2.0
MIN_POINTS = 5
COUNTED = ("car", "truck", "bus", "pedestrian", "bicycle")
"""Classes of which recall is counted: those that the networks know."""

_TINTS = ("#ff5d8f", "#ffb020", "#4cc9f0", "#80ed99", "#d19cff", "#f5f03c")


@dataclass(frozen=True)
class Count:
    """Labels against labelled boxes: matched one to one, best score first, within 2 m of a box of their class.

    Attributes:
        num_labels, num_matched: pseudo-labels of all classes, and those of them that match a labelled box.
        num_objects, num_found: labelled boxes of the counted classes with at least five points.
        centre_error_m: mean over the matched, in the ground plane.
    """

    num_labels: int
    num_matched: int
    num_objects: int
    num_found: int
    centre_error_m: float

    @property
    def precision(self) -> float:
        return self.num_matched / max(self.num_labels, 1)

    @property
    def recall(self) -> float:
        return self.num_found / max(self.num_objects, 1)


def count(samples: Sequence[Sample], labels: Sequence[PseudoLabels]) -> Count:
    """Counts over some samples."""
    config = DetectionConfig({name: float("inf") for name in NUSCENES_CLASSES}, (MATCH_M,), MATCH_M)
    truths = {}
    for sample in samples:
        annotations = sample.annotations
        assert annotations is not None
        every = np.full(len(annotations.boxes), -1)  # also boxes without points may be matched
        truths[sample.token] = GroundTruth(annotations.boxes, every, annotations.visibility)
    predicted = {sample.token: one.boxes for sample, one in zip(samples, labels, strict=True)}
    matching = match_detections(predicted, truths, config)
    match = matching.match[config.tp_threshold]
    hit = match != UNMATCHED
    off = matching.detections.values[hit, :2] - matching.objects.values[match[hit], :2]
    points = np.concatenate([sample.annotations.num_lidar_pts for sample in samples if sample.annotations])
    names = [name for sample in samples if sample.annotations for name in sample.annotations.boxes.names]
    counts = (points >= MIN_POINTS) & np.isin(names, COUNTED)
    found = np.zeros(len(counts), np.bool_)
    found[match[hit]] = True
    error_m = float(np.linalg.norm(off, axis=1).mean()) if hit.any() else float("nan")
    return Count(len(match), int(hit.sum()), int(counts.sum()), int((counts & found).sum()), error_m)


def check_nuscenes_keyframe(context: Context) -> Iterator[Row]:
    """The six pictures of one keyframe of nuScenes, 15 objects to find."""
    run = _Run.of(NuScenesSweepSource(context.data / "nuscenes_keyframe"), _mask_model(context))
    counted = count(run.samples, run.labels(full_lifting(), MIN_SCORE_2D))
    at = f"nuScenes keyframe, 2D score ≥ {MIN_SCORE_2D:g}"
    yield report_only(f"{at}: labels after NMS", counted.num_labels)
    yield report_only(f"{at}: labels that match a box of their class within {MATCH_M:g} m", counted.num_matched)
    yield at_least(f"{at}: precision", counted.precision, 0.70)
    yield at_least(f"{at}: recall of {counted.num_objects} boxes with ≥ {MIN_POINTS} points", counted.recall, 0.65)
    yield at_most(f"{at}: mean centre error of the matched, m", counted.centre_error_m, 1.0)
    yield from _beside("nuScenes keyframe", run)
    yield from run.draw(context.out / "real_keyframe" / "nuscenes")


def check_kitti_frames(context: Context) -> Iterator[Row]:
    """Three frames of KITTI, with the same settings."""
    source = KittiObjectSource(context.data / "kitti_object_with_images")
    run = _Run.of(source, _mask_model(context))
    counted = count(run.samples, run.labels(full_lifting(), MIN_SCORE_2D))
    at = f"KITTI 000000–000002, 2D score ≥ {MIN_SCORE_2D:g}"
    yield report_only(f"{at}: labels after NMS", counted.num_labels)
    yield report_only(f"{at}: labels that match a box of their class within {MATCH_M:g} m", counted.num_matched)
    yield report_only(f"{at}: precision (parked bicycles and a trailer count as wrong: unlabelled)", counted.precision)
    yield report_only(f"{at}: recall of {counted.num_objects} boxes with ≥ {MIN_POINTS} points", counted.recall)
    yield report_only(f"{at}: mean centre error of the matched, m", counted.centre_error_m)
    yield from _beside("KITTI 000000–000002", run)
    yield from run.draw(context.out / "real_keyframe" / "kitti")


@dataclass(frozen=True)
class _Run:
    """Samples, and what the mask model found in their pictures."""

    samples: Sequence[Sample]
    found: Sequence[Mapping[str, InstanceMasks]]

    @staticmethod
    def of(source: SampleSource, mask_model: OnnxMaskModel) -> _Run:
        samples = [source[i] for i in range(len(source))]
        found = []
        for sample in samples:
            masks = mask_model.find(sample.token, sample.cameras)
            found.append({camera.name: one for camera, one in zip(sample.cameras, masks, strict=True)})
        return _Run(samples, found)

    def labels(self, config: LiftingConfig, min_score_2d: float) -> list[PseudoLabels]:
        config = dataclasses.replace(config, min_score_2d=min_score_2d)
        priors = ShapePriors.paper()
        return [lift(s, masks, priors, config)[0] for s, masks in zip(self.samples, self.found, strict=True)]

    def draw(self, folder: Path) -> Iterator[Row]:
        """A sheet of cloud and pictures with labels and labelled boxes for each sample, and each picture's masks."""
        folder.mkdir(parents=True, exist_ok=True)
        written = 0
        for i, (sample, labels) in enumerate(zip(self.samples, self.labels(full_lifting(), MIN_SCORE_2D), strict=True)):
            assert sample.annotations is not None
            shown = ShownFrame(i, sample, sample.annotations.boxes, labels.boxes)
            sheet = folder / f"{sample.token}.png"
            draw_sheet(shown, range_m=60.0).save(sheet)
            pictures = [sheet]
            for camera in sample.cameras:
                pictures.append(folder / f"{sample.token}-{camera.name}-masks.jpg")
                _with_masks(camera.load(), self.found[i][camera.name]).save(pictures[-1], quality=90)
            written += sum(path.stat().st_size > 0 for path in pictures)
        num_pictures = sum(1 + len(sample.cameras) for sample in self.samples)
        yield all_of(f"overlay pictures written to {folder}", written, num_pictures)


def _beside(name: str, run: _Run) -> Iterator[Row]:
    """The same at other thresholds, and lifted the paper's way."""
    for min_score in OTHER_SCORES:
        counted = count(run.samples, run.labels(full_lifting(), min_score))
        yield from _pair(f"{name}, 2D score ≥ {min_score:g}", counted)
    counted = count(run.samples, run.labels(paper_lifting(), MIN_SCORE_2D))
    yield from _pair(f"{name}, 2D score ≥ {MIN_SCORE_2D:g}, the paper's lifting", counted)


def _pair(at: str, counted: Count) -> Iterator[Row]:
    yield report_only(f"{at}: precision ({counted.num_matched} of {counted.num_labels})", counted.precision)
    yield report_only(f"{at}: recall ({counted.num_found} of {counted.num_objects})", counted.recall)


def _mask_model(context: Context) -> OnnxMaskModel:
    models = context.data / "models2d"
    return open_onnx_mask_model(
        models / "yolox_nano_bigisland.onnx",
        models / "espnetv2_s2_city_512x1024.onnx",
        num_threads=os.cpu_count() or 1,
    )


def _with_masks(picture: npt.NDArray[np.uint8], masks: InstanceMasks) -> Image.Image:
    tinted = picture.copy()
    usable = masks.scores >= MIN_SCORE_2D
    for i, (mask, good) in enumerate(zip(masks.masks, usable, strict=True)):
        height, width = mask.pixels.shape
        part = tinted[mask.top : mask.top + height, mask.left : mask.left + width]
        tint = np.array([int(_TINTS[i % len(_TINTS)][k : k + 2], 16) for k in (1, 3, 5)])
        if good:
            part[mask.pixels] = (0.5 * part[mask.pixels] + 0.5 * tint).astype(np.uint8)
    return Image.fromarray(tinted)


def main() -> int:
    """Prints both tables and writes out/checks/real_keyframe.json; the exit code is 1 if a row falls short."""
    checks = (check_nuscenes_keyframe, check_kitti_frames)
    return run_checks("real_keyframe", checks, needing_data=checks)


if __name__ == "__main__":
    sys.exit(main())
