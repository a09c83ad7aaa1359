"""What the viewer shows of a source: samples with the boxes of a results file beside their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import ResultsFrame, read_results, results_frame
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.writing.label_threshold import fitting_score
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE, LABELS, read_drive
from lidarloop_training.evaluation.run import SHOWN_SCORE
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
        min_score: the score.
        num_boxes: number of boxes in the file, with those below the score.
    """

    boxes: Mapping[str, Boxes3D]
    frame: ResultsFrame
    min_score: float
    num_boxes: int

    @staticmethod
    def read(path: Path, min_score: float | None) -> Results:
        """Reads a results file.

        Args:
            path: results JSON, or the labels.json of pseudo-labels.
            min_score: least score of the boxes shown; None for one that fits: for pseudo-labels that of
                ``fitting_score``, for detections ``SHOWN_SCORE``.

        Raises:
            DatasetError: the file is missing or malformed.
        """
        boxes, meta = read_results(path)
        if min_score is None:
            has_evidence = path.name == LABELS and path.with_name(EVIDENCE).is_file()
            min_score = fitting_score(read_drive(path).labels.values()) if has_evidence else SHOWN_SCORE
        kept = {token: found[found.scores >= min_score] for token, found in boxes.items()}
        return Results(kept, results_frame(meta), min_score, sum(map(len, boxes.values())))

    @property
    def description(self) -> str:
        """For the reader: how many boxes are shown, and which."""
        num_kept = sum(map(len, self.boxes.values()))
        return f"{num_kept} of {self.num_boxes} boxes of the results, those with score ≥ {self.min_score:.2g}"


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
