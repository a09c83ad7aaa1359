"""Pictures of frames from above, for the report and for data that has no ground truth to score against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io import atomic
from lidarloop_core.io.results import ResultsFrame
from lidarloop_core.progress import progress
from lidarloop_core.sample import SampleSource
from lidarloop_training.evaluation.frames import Frame, spread
from lidarloop_training.evaluation.report.bev import draw_bev
from lidarloop_training.evaluation.scoring import Run, Score
from lidarloop_training.evaluation.statistics.breakdown import FrameOutcome

# Without ground truth there is no best threshold to find; detectors put out many boxes of low score.
SHOWN_SCORE = 0.3


@dataclass(frozen=True)
class Picture:
    """A frame from above.

    Attributes:
        token: names the frame.
        caption: what to see.
        png: the file.
        camera_jpeg: the same from a camera; None where there is none.
    """

    token: str
    caption: str
    png: bytes
    camera_jpeg: bytes | None = None


def draw_frame(
    source: SampleSource, frame: Frame, boxes: Boxes3D, boxes_frame: ResultsFrame, outcome: FrameOutcome | None
) -> Picture:
    """Draws one frame of a source with the detections on it, judged where there is an outcome."""
    points = frame.ego_SE3_lidar.transform(source[frame.index].keyframe.points[:, :3])
    detections = frame.to_ego(boxes, boxes_frame)
    title = f"{frame.scene}  frame {frame.index}"
    if outcome is None:
        shown = detections[detections.scores >= SHOWN_SCORE]
        caption = f"{frame.scene}, frame {frame.index}: {len(shown)} detections with score ≥ {SHOWN_SCORE:g}"
        return Picture(frame.token, caption, draw_bev(points, shown, title=title))
    assert frame.annotations is not None
    num_found, num_objects = len(outcome.found), len(outcome.found) + len(outcome.missed)
    caption = (
        f"{frame.scene}, frame {frame.index}: {num_found} of {num_objects} objects found, "
        f"{len(outcome.inventions)} detections of nothing (F1 {outcome.f1:.2f})"
    )
    objects = frame.annotations.boxes.transformed(frame.ego_SE3_lidar)
    return Picture(frame.token, caption, draw_bev(points, detections, objects, outcome, title=title))


def write_pictures(run: Run, score: Score | None, folder: Path, num_pictures: int) -> list[Path]:
    """Writes PNGs, spread evenly over the frames that have results and named by their position in the source.

    Args:
        run: the frames and their detections.
        score: with it boxes are coloured by what became of them.
        folder: where to.
        num_pictures: at most so many.
    """
    outcomes = {outcome.token: outcome for outcome in score.breakdown.frames} if score else {}
    answered = [frame for frame in run.frames if frame.token in run.detections]
    paths = []
    for i in progress(spread(len(answered), num_pictures), "drawing"):
        frame = answered[i]
        boxes = run.detections[frame.token]
        picture = draw_frame(run.source, frame, boxes, run.results_frame, outcomes.get(frame.token))
        paths.append(folder / f"{frame.index:06d}.png")
        atomic.write_bytes(paths[-1], picture.png)
    return paths
