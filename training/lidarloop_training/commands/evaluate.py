"""``lidarloop evaluate``: a results file and its ground truth become numbers, a report and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_training.data.drive_spec import DriveName, drive_at, drive_named

if TYPE_CHECKING:
    from lidarloop_core.sample import SampleSource
    from lidarloop_training.evaluation.comparison import Comparison
    from lidarloop_training.evaluation.field_metrics import FieldTable
    from lidarloop_training.evaluation.frames import Frame
    from lidarloop_training.evaluation.latency import Latency
    from lidarloop_training.evaluation.report.pictures import Picture
    from lidarloop_training.evaluation.scoring import Resampling, Run, Score
    from lidarloop_training.evaluation.statistics.breakdown import FrameOutcome

Metric = Literal["nuscenes", "kitti", "waymo"]

_PICTURES_IN_A_ROW = 3
_NUM_MISSES = 6


@dataclass(frozen=True)
class _ReadRun:
    """A results file with its frames.

    Attributes:
        path: of the file.
        run: its detections and their frames.
        meta: what the file says about itself.
        notes: what did not fit.
    """

    path: Path
    run: Run
    meta: Mapping[str, Any]
    notes: Sequence[str]


def evaluate(
    results: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RESULTS")],
    ground_truth: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="GROUND_TRUTH")],
    *,
    out: Path,
    source: DriveName | None = None,
    compare: Path | None = None,
    metric: Metric = "nuscenes",
    class_agnostic: bool = False,
    resamples: int = 1000,
    latency: Path | None = None,
    pictures: int = 0,
    allow_missing: bool = False,
) -> None:
    """Scores detections with the nuScenes metrics; writes metrics.json and report.html.

    Where the ground truth holds no annotations nothing is scored; the report then has the pictures and the latency.

    Args:
        results: detections: the JSON file that `lidarloop replay` writes, or any nuScenes submission.
        ground_truth: the bag that was replayed, or a folder of nuScenes tables or of KITTI's object benchmark.
        out: folder to write to.
        source: what GROUND_TRUTH is, by the names of `lidarloop convert`, where it is none of those.
        compare: a second results file for the same frames: what differs, and whether by more than chance.
        metric: kitti and waymo add that benchmark's own numbers; kitti needs the object benchmark's folder.
        class_agnostic: every box counts as an object of one class, for results made without labels.
        resamples: bootstrap draws for the 95 % intervals; 0 for no intervals.
        latency: latency.json of the same replay.
        pictures: how many frames to write as PNG files to OUT/pictures, spread evenly.
        allow_missing: take a frame without results as one in which nothing was detected, instead of failing.
    """
    _check_paths(results, compare, out)
    _check_options(metric, class_agnostic, resamples, pictures)
    # Heavy imports only now, so that `--help` and wrong usage answer at once.
    from lidarloop_core.io import atomic
    from lidarloop_training.evaluation import frames as alignment
    from lidarloop_training.evaluation.field_metrics import check_metric
    from lidarloop_training.evaluation.kitti_ground_truth import in_nuscenes_classes
    from lidarloop_training.evaluation.latency import read_latency
    from lidarloop_training.evaluation.report import console, summary
    from lidarloop_training.evaluation.report.page import render
    from lidarloop_training.evaluation.report.pictures import write_pictures

    # All that can be wrong with the input shows before the first number is made.
    record = read_latency(latency) if latency else None
    drive = open_ground_truth(ground_truth, source)
    check_metric(metric, drive)
    frames = [in_nuscenes_classes(frame) for frame in alignment.read_frames(drive)]
    labelled = [frame for frame in frames if frame.annotations is not None]
    first = _read_run(results, drive, labelled or frames, class_agnostic, allow_missing)
    second = _read_run(compare, drive, labelled or frames, class_agnostic, allow_missing) if compare else None
    _check_same_model(first.meta, record)

    run, notes = first.run, [*first.notes]
    if second is not None and not labelled:
        notes.append(f"{compare} was not compared: that needs ground truth")
    resampling = _resampling(run.frames, resamples)
    score = _score(run, class_agnostic, resampling) if labelled else None
    tables = _tables(run, metric) if labelled else []
    document = summary.summarise(
        run.frames, score, record, first.meta, results, ground_truth, notes, resampling=resampling, tables=tables
    )
    comparison = None
    if second is not None and score is not None:
        comparison = _compare(score, _score(second.run, class_agnostic, resampling), resampling)
        document["comparison"] = summary.comparison_document(comparison, second.path, second.meta)
        document["notes"] += [f"second result: {note}" for note in second.notes]
    report = summary.report(
        document,
        score,
        record,
        report_pictures(run, score),
        resampling=resampling,
        comparison=comparison,
        tables=tables,
        misses=miss_pictures(run, score, lambda: open_ground_truth(ground_truth, source, cameras=True)),
    )
    atomic.write_bytes(out / "metrics.json", (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    atomic.write_bytes(out / "report.html", render(report).encode())
    if pictures:
        write_pictures(run, score, out / "pictures", pictures)
    console.show(score, record, document["notes"], tables=tables, comparison=comparison)
    print(out / "report.html")


def open_ground_truth(path: Path, source: DriveName | None = None, *, cameras: bool = False) -> SampleSource:
    """The source at ``path``: what it is said to be, else a bag, nuScenes tables or KITTI's object benchmark.

    Raises:
        DatasetError, BagError: there is none of them.
    """
    drive = drive_at(path) if source is None else drive_named(source, str(path))
    return drive.open(cameras=cameras, lane_map=False)


def report_pictures(run: Run, score: Score | None) -> dict[str, list[Picture]]:
    """Heading → pictures: the best and the worst frames, or some spread over the drive where nothing is scored."""
    from lidarloop_core.geometry.boxes import Boxes3D
    from lidarloop_training.evaluation.frames import spread
    from lidarloop_training.evaluation.report.pictures import draw_frame
    from lidarloop_training.evaluation.statistics.breakdown import best_and_worst

    def draw(frame: Frame, outcome: FrameOutcome | None) -> Picture:
        boxes = run.detections.get(frame.token, Boxes3D.empty(NUSCENES_CLASSES))
        return draw_frame(run.source, frame, boxes, run.results_frame, outcome)

    if score is None:
        answered = [frame for frame in run.frames if frame.token in run.detections]
        chosen = [answered[i] for i in spread(len(answered), 2 * _PICTURES_IN_A_ROW)]
        return {"Frames spread over the drive": [draw(frame, None) for frame in chosen]}
    by_token = {frame.token: frame for frame in run.frames}
    best, worst = best_and_worst(score.breakdown.frames, _PICTURES_IN_A_ROW)
    return {
        "Worst frames, by F1": [draw(by_token[outcome.token], outcome) for outcome in worst],
        "Best frames, by F1": [draw(by_token[outcome.token], outcome) for outcome in best],
    }


def miss_pictures(run: Run, score: Score | None, with_cameras: Callable[[], SampleSource]) -> list[Picture]:
    """The worst misses; ``with_cameras`` opens the ground truth with its pictures, which takes time."""
    from lidarloop_training.evaluation.report.misses import draw_misses

    if score is None or all(len(outcome.missed) == 0 for outcome in score.breakdown.frames):
        return []
    return draw_misses(run, score, with_cameras(), _NUM_MISSES)


def _check_paths(results: Path, compare: Path | None, out: Path) -> None:
    """A wrong name shows at once, not after the whole drive was read."""
    for path in (results, compare):
        if path is not None and not path.is_file():
            raise DatasetError(f"the results {path} do not exist; expected a JSON file as `lidarloop replay` writes it")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"received --out {out}, which is a file; expected a folder, new or there already")


def _check_options(metric: Metric, class_agnostic: bool, resamples: int, pictures: int) -> None:
    if resamples < 0:
        raise ConfigError(f"received --resamples {resamples}; expected 0 for none, or about 1000")
    if pictures < 0:
        raise ConfigError(f"received --pictures {pictures}; expected 0 for none, or how many to write")
    if class_agnostic and metric != "nuscenes":
        raise ConfigError(
            f"received --class-agnostic with --metric {metric}, which scores by class; expected one of them"
        )


def _read_run(
    results: Path, source: SampleSource, frames: Sequence[Frame], class_agnostic: bool, allow_missing: bool
) -> _ReadRun:
    from lidarloop_core.io.results import read_results, results_frame
    from lidarloop_training.evaluation.metrics.class_agnostic import OBJECT
    from lidarloop_training.evaluation.scoring import Run, cover, without_classes

    detections, meta = read_results(results, (*NUSCENES_CLASSES, OBJECT) if class_agnostic else NUSCENES_CLASSES)
    try:
        covered, notes = cover(detections, frames, allow_missing)
        run = Run(source, frames, covered, results_frame(meta))
    except DatasetError as error:
        raise DatasetError(f"{results}: {error}") from None  # there may be a second file
    return _ReadRun(results, without_classes(run) if class_agnostic else run, meta, notes)


def _resampling(frames: Sequence[Frame], num_resamples: int) -> Resampling | None:
    from lidarloop_training.evaluation.scoring import Resampling
    from lidarloop_training.evaluation.statistics.bootstrap import resampling_units

    if num_resamples == 0:
        return None
    return Resampling(resampling_units([(frame.token, frame.scene) for frame in frames]), num_resamples)


def _score(run: Run, class_agnostic: bool, resampling: Resampling | None) -> Score:
    from lidarloop_training.evaluation.metrics.class_agnostic import class_agnostic_config
    from lidarloop_training.evaluation.metrics.matching import DetectionConfig
    from lidarloop_training.evaluation.scoring import score_run

    config = DetectionConfig()
    return score_run(run, class_agnostic_config(config) if class_agnostic else config, resampling)


def _tables(run: Run, metric: Metric) -> list[FieldTable]:
    if metric == "nuscenes":
        return []
    from lidarloop_training.evaluation.field_metrics import kitti_table, waymo_table

    return [kitti_table(run) if metric == "kitti" else waymo_table(run)]


def _compare(first: Score, second: Score, resampling: Resampling | None) -> Comparison:
    from lidarloop_training.evaluation.comparison import compare

    return compare(first, second, resampling.description if resampling else "")


def _check_same_model(meta: Mapping[str, Any], record: Latency | None) -> None:
    detected_by, timed = meta.get("model_sha256"), record.model_sha256 if record else None
    if detected_by and timed and detected_by != timed:
        raise DatasetError(
            f"the results are of model {detected_by[:12]}… and the latency is of model {timed[:12]}…; "
            "expected both files of one replay"
        )
