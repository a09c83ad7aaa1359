"""The numbers of the other benchmarks for a run: KITTI's and Waymo's, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.progress import progress
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.evaluation.kitti_ground_truth import USUAL_SIZE_PX, has_picture, kitti_sample
from lidarloop_training.evaluation.metrics.kitti import evaluate_kitti
from lidarloop_training.evaluation.metrics.matching import IntArray
from lidarloop_training.evaluation.metrics.waymo import (
    LEVELS,
    WaymoSample,
    as_waymo_types,
    difficulty_levels,
    evaluate_waymo,
    mean_over_types,
)
from lidarloop_training.evaluation.samples import SampleRecord
from lidarloop_training.evaluation.scoring import Detections


@dataclass(frozen=True)
class FieldTable:
    """A table of another benchmark's numbers.

    Attributes:
        metric: key of the rows in metrics.json, e.g. the benchmark's name.
        title: heading above the table.
        note: explanation below the heading.
        columns: names of the columns; the first is that of the rows' names.
        rows: a name and numbers each; counts are integers, NaN what is undefined.
    """

    metric: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]


@runtime_checkable
class WithAnnotatedLevels(Protocol):
    """A source whose labellers marked which objects are hard, as ``data.waymo.reader.WaymoSource``."""

    def annotated_levels(self, index: int) -> IntArray:
        """(N,) 1 or 2 for each box of the sample's annotations; 0 where the labellers gave no level."""


def check_metric(metric: str, source: SampleSource) -> None:
    """Refuses a metric that the ground truth does not hold enough for, before any time is spent on it.

    Raises:
        DatasetError: KITTI's metric without KITTI's label files.
    """
    if metric == "kitti" and not isinstance(source, KittiObjectSource):
        raise DatasetError(
            "received --metric kitti with ground truth that is not the KITTI object benchmark's; expected a folder "
            "with velodyne, calib and label_2, for only these labels hold what the metric needs: height in the "
            "picture, occlusion and truncation. For anything else leave the option out, or give --metric waymo"
        )


def kitti_table(detections: Detections) -> FieldTable:
    """AP R40 at the three difficulties; the ground truth must have passed ``check_metric``."""
    source = detections.source
    assert isinstance(source, KittiObjectSource)
    samples = [
        kitti_sample(source.root, sample, sample.to_lidar(_boxes(detections, sample), detections.frame))
        for sample in progress(detections.samples, "KITTI's metric")
    ]
    rows = evaluate_kitti(samples)
    unseen = sum(not has_picture(source.root, sample.token) for sample in detections.samples)
    width, height = USUAL_SIZE_PX
    assumed = f" {unseen} frames have no picture: its size is taken as {width} × {height}." if unseen else ""
    return FieldTable(
        "kitti",
        "KITTI, AP R40",
        "Per cent, over 40 recalls; IoU above 0.7 for cars and 0.5 for pedestrians and cyclists. A class with few "
        f"objects cannot reach 100.{assumed}",
        ("class", "difficulty", "objects", "AP 3D", "AP BEV"),
        tuple((row.class_name, row.difficulty, row.num_objects, row.ap_3d, row.ap_bev) for row in rows),
    )


def waymo_table(detections: Detections) -> FieldTable:
    """AP and APH at both levels: the labellers' levels where the source has them, else by the number of points."""
    rows = evaluate_waymo(
        [_waymo_sample(detections, sample) for sample in progress(detections.samples, "Waymo's metric")]
    )
    means = [(level, *mean_over_types(rows, level)) for level in LEVELS]
    return FieldTable(
        "waymo",
        "Waymo, AP and APH",
        "IoU of at least 0.7 for vehicles and 0.5 for pedestrians and cyclists. Level 2 adds the objects with at most "
        "5 points and those labelled hard; APH weighs each match by how right its heading is.",
        ("type", "level", "objects", "AP", "APH"),
        (
            *((row.type_name, f"L{row.level}", row.num_objects, row.ap, row.aph) for row in rows),
            *(("mean", f"L{level}", "", ap, aph) for level, ap, aph in means),
        ),
    )


def _waymo_sample(detections: Detections, sample: SampleRecord) -> WaymoSample:
    truth, source = sample.ground_truth(), detections.source
    annotated = source.annotated_levels(sample.index) if isinstance(source, WithAnnotatedLevels) else None
    levels = difficulty_levels(truth.num_lidar_pts, annotated)
    objects, rows = as_waymo_types(truth.boxes)
    boxes = sample.to_level(_boxes(detections, sample), detections.frame)
    return WaymoSample(objects, levels[rows], as_waymo_types(boxes)[0])


def _boxes(detections: Detections, sample: SampleRecord) -> Boxes3D:
    """The detections of a sample; none where it was not answered."""
    return detections.boxes.get(sample.token, Boxes3D.empty(NUSCENES_CLASSES))
