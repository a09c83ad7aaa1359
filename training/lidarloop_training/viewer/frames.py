"""What the viewer shows of a source: samples with the boxes of a results file beside their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import ResultsFrame, read_results, results_frame
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.evaluation.samples import SampleRecord


@dataclass(frozen=True)
class ShownFrame:
    """One sample and its boxes, all in the keyframe LiDAR's frame.

    Attributes:
        index: position in the source.
        sample: the sample itself.
        objects: its ground truth; None where there is none.
        detections: boxes of the results file, detections or pseudo-labels; None where it has none for this sample.
    """

    index: int
    sample: Sample
    objects: Boxes3D | None
    detections: Boxes3D | None


@dataclass(frozen=True)
class Results:
    """Boxes of a results file, those above a score.

    Attributes:
        boxes: sample_token → boxes.
        frame: their frame of reference.
    """

    boxes: Mapping[str, Boxes3D]
    frame: ResultsFrame

    @staticmethod
    def read(path: Path, min_score: float) -> Results:
        boxes, meta = read_results(path)
        kept = {token: found[found.scores >= min_score] for token, found in boxes.items()}
        return Results(kept, results_frame(meta))


def shown_frames(source: SampleSource, indices: Iterable[int], results: Results | None) -> Iterator[ShownFrame]:
    """The samples at ``indices``, one by one.

    Raises:
        DatasetError: the results have boxes for none of them.
    """
    num_shown = num_answered = 0
    for index in indices:
        num_shown += 1
        sample = source[index]
        detections = None
        if results is not None and sample.token in results.boxes:
            num_answered += 1
            frame = SampleRecord.of(sample, index)
            in_ego = frame.to_ego(results.boxes[sample.token], results.frame)
            detections = in_ego.transformed(frame.ego_SE3_lidar.inverse())
        objects = sample.annotations.boxes if sample.annotations is not None else None
        yield ShownFrame(index, sample, objects, detections)
    if results is not None and not num_answered:
        raise DatasetError(
            f"none of the {len(results.boxes)} frames of the results is among the {num_shown} shown "
            f"(e.g. '{next(iter(results.boxes), '')}' against '{sample.token}'); expected results of this very drive"
        )
