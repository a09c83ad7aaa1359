"""From a results file and its ground truth to a score."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import ResultsFrame
from lidarloop_core.sample import SampleSource
from lidarloop_training.evaluation.frames import Frame
from lidarloop_training.evaluation.metrics.class_agnostic import as_objects, objects_of
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, Matching, match_detections
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics, score
from lidarloop_training.evaluation.statistics.bootstrap import Replicates, Units, bootstrap, interval
from lidarloop_training.evaluation.statistics.breakdown import Breakdown, break_down
from lidarloop_training.evaluation.statistics.confusion import Confusion, confuse


@dataclass(frozen=True)
class Run:
    """Detections and the frames they belong to.

    Attributes:
        source: where the clouds are.
        frames: the frames to score, or to draw where none is labelled.
        detections: token → boxes; a frame may lack them.
        results_frame: the frame of reference of the boxes.
    """

    source: SampleSource
    frames: Sequence[Frame]
    detections: Mapping[str, Boxes3D]
    results_frame: ResultsFrame


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: ``num_resamples`` draws of ``units``."""

    units: Units
    num_resamples: int
    seed: int = 0

    @property
    def description(self) -> str:
        """For the reader, e.g. ``1000 draws of 24 single frames``."""
        return f"{self.num_resamples} draws of {self.units.name}"


@dataclass(frozen=True)
class Score:
    """The metrics of a run and what they are made of.

    Attributes:
        matching: detections against objects.
        metrics, breakdown, confusion: from it.
        replicates: the scores of the draws; None where none were wanted.
    """

    matching: Matching
    metrics: DetectionMetrics
    breakdown: Breakdown
    confusion: Confusion
    replicates: Replicates | None

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """``mAP``, ``NDS``, the five errors and each class present → its 95 % interval; empty without draws."""
        if self.replicates is None:
            return {}
        draws = {"mAP": self.replicates.mean_ap, "NDS": self.replicates.nds, **self.replicates.errors}
        draws |= {c.name: self.replicates.class_ap[c.name] for c in self.metrics.present}
        return {name: interval(values) for name, values in draws.items()}


def cover(
    detections: Mapping[str, Boxes3D], frames: Sequence[Frame], allow_missing: bool
) -> tuple[dict[str, Boxes3D], list[str]]:
    """The detections of ``frames``, and notes about what did not fit.

    Raises:
        DatasetError: a frame has no results (unless ``allow_missing``), or none has.
    """
    tokens = {frame.token for frame in frames}
    if len(tokens) < len(frames):
        raise DatasetError(f"the ground truth holds {len(frames)} frames with {len(tokens)} tokens; expected each once")
    missing = [frame.token for frame in frames if frame.token not in detections]
    unknown = [token for token in detections if token not in tokens]
    if not frames or len(missing) == len(frames):
        raise DatasetError(
            f"none of the {len(detections)} frames of the results is among the {len(frames)} of the ground truth "
            f"(e.g. {_example(unknown)} against {_example(missing)}); expected the results of this very drive"
        )
    if missing and not allow_missing:
        raise DatasetError(
            f"{len(missing)} of {len(frames)} frames of the ground truth have no results (e.g. {_example(missing)}); "
            "expected results for all. Give --allow-missing to take them as frames in which nothing was detected"
        )
    notes = []
    if missing:
        notes.append(f"{len(missing)} of {len(frames)} frames have no results: taken as frames with nothing detected")
    if unknown:
        notes.append(f"{len(unknown)} frames of the results have no counterpart in the ground truth and were left out")
    return {token: boxes for token, boxes in detections.items() if token in tokens}, notes


def without_classes(run: Run) -> Run:
    """The same run with every box an ``object``; see ``class_agnostic``."""
    config = DetectionConfig()
    frames = [
        frame
        if frame.annotations is None
        else dataclasses.replace(frame, annotations=objects_of(frame.annotations, config))
        for frame in run.frames
    ]
    detections = {token: as_objects(boxes, config) for token, boxes in run.detections.items()}
    return Run(run.source, frames, detections, run.results_frame)


def score_run(run: Run, config: DetectionConfig, resampling: Resampling | None = None) -> Score:
    """The metrics and what they are made of; every frame must be labelled."""
    by_token = {frame.token: frame for frame in run.frames}
    # In the order of the results, which decides among equal scores as in the devkit.
    predictions = {token: by_token[token].to_level(boxes, run.results_frame) for token, boxes in run.detections.items()}
    nothing = Boxes3D.empty(config.class_names)
    matching = match_detections(
        predictions | {token: nothing for token in by_token if token not in predictions},
        {frame.token: frame.ground_truth() for frame in run.frames},
        config,
    )
    breakdown = break_down(matching)
    replicates = None
    if resampling is not None and len(matching.objects):
        replicates = bootstrap(matching, resampling.units, num_resamples=resampling.num_resamples, seed=resampling.seed)
    return Score(matching, score(matching), breakdown, confuse(matching, breakdown.operating_score), replicates)


def _example(tokens: Sequence[str]) -> str:
    return f"'{tokens[0]}'" if tokens else "none"
