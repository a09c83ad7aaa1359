"""Pictures of samples from above, for the report and for data that has no ground truth to score against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io import atomic
from lidarloop_core.progress import progress
from lidarloop_training.evaluation.report.bev import draw_bev
from lidarloop_training.evaluation.run import EvaluationRun, ResultsFile
from lidarloop_training.evaluation.samples import SampleRecord, spread
from lidarloop_training.evaluation.statistics.breakdown import SampleOutcome, best_and_worst

_PICTURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Picture:
    """A sample, or a part of one, from above.

    Attributes:
        token: sample token.
        caption: sentence below the picture.
        png: PNG file's bytes, seen from above.
        camera_jpeg: JPEG file's bytes, the same from a camera; None where no camera sees it.
    """

    token: str
    caption: str
    png: bytes
    camera_jpeg: bytes | None = None


@dataclass(frozen=True)
class ReportPictures:
    """All pictures of a report.

    Attributes:
        overview: heading → pictures of samples.
        misses: pictures of objects that were not found.
    """

    overview: Mapping[str, Sequence[Picture]] = field(default_factory=dict)
    misses: Sequence[Picture] = ()


def draw_overview(run: EvaluationRun) -> dict[str, list[Picture]]:
    """Heading → pictures: the worst and the best samples, or some spread over the drive where nothing is scored."""
    detections = run.results.detections
    if run.score is None:
        answered = detections.answered
        chosen = [answered[i] for i in spread(len(answered), 2 * _PICTURES_IN_A_ROW)]
        return {"Frames spread over the drive": [draw_sample(run.results, sample, None) for sample in chosen]}
    by_token = {sample.token: sample for sample in detections.samples}
    best, worst = best_and_worst(run.score.breakdown.samples, _PICTURES_IN_A_ROW)
    return {
        heading: [draw_sample(run.results, by_token[outcome.token], outcome) for outcome in outcomes]
        for heading, outcomes in (("Worst frames, by F1", worst), ("Best frames, by F1", best))
    }


def draw_sample(results: ResultsFile, sample: SampleRecord, outcome: SampleOutcome | None) -> Picture:
    """Draws one sample with the detections on it, coloured by what became of them where there is an outcome."""
    detections = results.detections
    points = sample.ego_SE3_lidar.transform(detections.source[sample.index].keyframe.points[:, :3])
    boxes = sample.to_ego(detections.boxes.get(sample.token, Boxes3D.empty(NUSCENES_CLASSES)), detections.frame)
    title = f"{sample.scene}  frame {sample.index}"
    if outcome is None:
        shown = boxes[boxes.scores >= results.shown_score]
        caption = (
            f"{sample.scene}, frame {sample.index}: {len(shown)} of {len(boxes)} {results.noun}, those with score ≥ "
            f"{results.shown_score:.2g}"
        )
        return Picture(sample.token, caption, draw_bev(points, shown, title=title))
    assert sample.annotations is not None
    num_found, num_objects = len(outcome.found), len(outcome.found) + len(outcome.missed)
    caption = (
        f"{sample.scene}, frame {sample.index}: {num_found} of {num_objects} objects found, "
        f"{len(outcome.inventions)} {results.noun} of nothing (F1 {outcome.f1:.2f})"
    )
    objects = sample.annotations.boxes.transformed(sample.ego_SE3_lidar)
    return Picture(sample.token, caption, draw_bev(points, boxes, objects, outcome, title=title))


def write_pictures(run: EvaluationRun, folder: Path, num_pictures: int) -> list[Path]:
    """Writes PNGs, spread evenly over the samples that have results and named by their position in the source.

    Args:
        run: detections. Where they are scored, boxes are coloured by what became of them.
        folder: folder to write to.
        num_pictures: largest number of pictures.

    Returns:
        The files, in the order of the samples.
    """
    detections = run.results.detections
    outcomes = {outcome.token: outcome for outcome in run.score.breakdown.samples} if run.score else {}
    answered = detections.answered
    paths = []
    for i in progress(spread(len(answered), num_pictures), "drawing"):
        sample = answered[i]
        picture = draw_sample(run.results, sample, outcomes.get(sample.token))
        paths.append(folder / f"{sample.index:06d}.png")
        atomic.write_bytes(paths[-1], picture.png)
    return paths
