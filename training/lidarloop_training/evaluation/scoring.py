"""From detections and the samples they belong to, to a score."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import ResultsFrame
from lidarloop_core.sample import SampleSource
from lidarloop_training.evaluation.metrics.class_agnostic import as_objects, objects_of
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, Matching, match_detections
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics, score
from lidarloop_training.evaluation.samples import SampleRecord
from lidarloop_training.evaluation.statistics.bootstrap import Replicates, Units, bootstrap, interval, resampling_units
from lidarloop_training.evaluation.statistics.breakdown import Breakdown, break_down
from lidarloop_training.evaluation.statistics.confusion import Confusion, confuse


@dataclass(frozen=True)
class Detections:
    """Boxes and the samples they belong to.

    Attributes:
        source: samples with their clouds, for pictures.
        samples: samples to score, or to draw where none is labelled.
        boxes: token → boxes in ``frame``; a sample may lack them.
        frame: frame of reference of the boxes, "world" or "lidar".
    """

    source: SampleSource
    samples: Sequence[SampleRecord]
    boxes: Mapping[str, Boxes3D]
    frame: ResultsFrame

    @property
    def answered(self) -> list[SampleRecord]:
        """The samples that have results, be they empty."""
        return [sample for sample in self.samples if sample.token in self.boxes]


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Attributes:
        units: groups of samples that are drawn together.
        num_resamples: number of draws.
        seed: seed of the draws.
    """

    units: Units
    num_resamples: int
    seed: int = 0

    @staticmethod
    def of(samples: Sequence[SampleRecord], num_resamples: int) -> Resampling:
        """Draws of scenes, of blocks or of single samples, by how many there are."""
        return Resampling(resampling_units([(sample.token, sample.scene) for sample in samples]), num_resamples)

    @property
    def description(self) -> str:
        """For the reader, e.g. ``1000 draws of 24 single frames``."""
        return f"{self.num_resamples} draws of {self.units.name}"


@dataclass(frozen=True)
class Score:
    """The metrics of detections and what they are made of.

    Attributes:
        matching: detections against objects.
        metrics: nuScenes metrics.
        breakdown: metrics by range, points, visibility and sample.
        confusion: confusion matrix at the operating score.
        resampling: how the replicates were drawn; None where no intervals were wanted.
        replicates: scores of the draws; None without ``resampling`` or without any object.
    """

    matching: Matching
    metrics: DetectionMetrics
    breakdown: Breakdown
    confusion: Confusion
    resampling: Resampling | None = None
    replicates: Replicates | None = None

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """``mAP``, ``NDS``, the five errors and each class present → its 95 % interval; empty without draws."""
        if self.replicates is None:
            return {}
        draws = {"mAP": self.replicates.mean_ap, "NDS": self.replicates.nds, **self.replicates.errors}
        draws |= {c.name: self.replicates.class_ap[c.name] for c in self.metrics.present}
        return {name: interval(values) for name, values in draws.items()}


def cover(
    boxes: Mapping[str, Boxes3D], samples: Sequence[SampleRecord], allow_missing: bool
) -> tuple[dict[str, Boxes3D], list[str]]:
    """The boxes of ``samples``, and notes about what did not fit.

    Raises:
        DatasetError: a sample has no results (unless ``allow_missing``), or none has.
    """
    tokens = {sample.token for sample in samples}
    if len(tokens) < len(samples):
        raise DatasetError(
            f"the ground truth holds {len(samples)} frames with {len(tokens)} tokens; expected each once"
        )
    missing = [sample.token for sample in samples if sample.token not in boxes]
    unknown = [token for token in boxes if token not in tokens]
    if not samples or len(missing) == len(samples):
        raise DatasetError(
            f"none of the {len(boxes)} frames of the results is among the {len(samples)} of the ground truth "
            f"(e.g. {_example(unknown)} against {_example(missing)}); expected the results of this very drive"
        )
    if missing and not allow_missing:
        raise DatasetError(
            f"{len(missing)} of {len(samples)} frames of the ground truth have no results (e.g. {_example(missing)}); "
            "expected results for all. Give --allow-missing to take them as frames in which nothing was detected"
        )
    notes = []
    if missing:
        notes.append(f"{len(missing)} of {len(samples)} frames have no results: taken as frames with nothing detected")
    if unknown:
        notes.append(f"{len(unknown)} frames of the results have no counterpart in the ground truth and were left out")
    return {token: found for token, found in boxes.items() if token in tokens}, notes


def without_classes(detections: Detections, class_names: Sequence[str] = NUSCENES_CLASSES) -> Detections:
    """The same with every box of the classes an ``object``; see ``metrics.class_agnostic``."""
    config = DetectionConfig.of_classes(class_names)
    samples = [
        sample
        if sample.annotations is None
        else dataclasses.replace(sample, annotations=objects_of(sample.annotations, config))
        for sample in detections.samples
    ]
    boxes = {token: as_objects(found, config) for token, found in detections.boxes.items()}
    return dataclasses.replace(detections, samples=samples, boxes=boxes)


def score_detections(detections: Detections, config: DetectionConfig, resampling: Resampling | None = None) -> Score:
    """The metrics and what they are made of; every sample must be labelled.

    Raises:
        DatasetError: a sample holds too many boxes, a box is not usable, or world-frame results meet a sample without
            an ego pose.
    """
    by_token = {sample.token: sample for sample in detections.samples}
    # In the order of the results, which decides among equal scores as in the devkit.
    predictions = {
        token: by_token[token].to_level(boxes, detections.frame) for token, boxes in detections.boxes.items()
    }
    nothing = Boxes3D.empty(config.class_names)
    matching = match_detections(
        predictions | {token: nothing for token in by_token if token not in predictions},
        {sample.token: sample.ground_truth() for sample in detections.samples},
        config,
    )
    breakdown = break_down(matching)
    replicates = None
    if resampling is not None and len(matching.objects):
        replicates = bootstrap(matching, resampling.units, num_resamples=resampling.num_resamples, seed=resampling.seed)
    confusion = confuse(matching, breakdown.operating_score)
    return Score(matching, score(matching), breakdown, confusion, resampling, replicates)


def _example(tokens: Sequence[str]) -> str:
    return f"'{tokens[0]}'" if tokens else "none"
