"""``lidarloop evaluate``: a results file and its ground truth become numbers, a report and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError

if TYPE_CHECKING:
    from lidarloop_core.geometry.boxes import Boxes3D
    from lidarloop_core.sample import SampleSource
    from lidarloop_training.evaluation.alignment import Frame, ResultsFrame
    from lidarloop_training.evaluation.breakdown import FrameOutcome
    from lidarloop_training.evaluation.latency import Latency
    from lidarloop_training.evaluation.pictures import Picture
    from lidarloop_training.evaluation.summary import Score

_PICTURES_IN_A_ROW = 3


def evaluate(
    results: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RESULTS")],
    ground_truth: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="GROUND_TRUTH")],
    *,
    out: Path,
    latency: Path | None = None,
    pictures: int = 0,
    allow_missing: bool = False,
) -> None:
    """Scores detections with the nuScenes metrics; writes metrics.json and report.html.

    Where the ground truth holds no annotations nothing is scored; the report then has the pictures and the latency.

    Args:
        results: detections: the JSON file that `lidarloop replay` writes, or any nuScenes submission.
        ground_truth: the bag that was replayed, or a folder of nuScenes tables.
        out: folder to write to.
        latency: latency.json of the same replay.
        pictures: so many frames as PNG files in OUT/pictures, spread evenly.
        allow_missing: take a frame without results as one in which nothing was detected, instead of failing.
    """
    # Heavy imports only now, so that `--help` and wrong usage answer at once.
    from lidarloop_core.io import atomic
    from lidarloop_core.io.results import read_results
    from lidarloop_training.evaluation import alignment, console, summary
    from lidarloop_training.evaluation.latency import read_latency
    from lidarloop_training.evaluation.pictures import write_pictures
    from lidarloop_training.evaluation.report import render

    detections, meta = read_results(results, NUSCENES_CLASSES)
    record = read_latency(latency) if latency else None
    _check_same_model(meta, record)
    source = open_ground_truth(ground_truth)
    frames = alignment.read_frames(source)
    labelled = [frame for frame in frames if frame.annotations is not None]
    covered, notes = cover(detections, labelled or frames, allow_missing)
    run = Run(source, labelled or frames, covered, alignment.results_frame(meta))

    score = score_run(run) if labelled else None
    document = summary.summarise(run.frames, score, record, meta, results, ground_truth, notes)
    html = render(summary.report(document, score, record, report_pictures(run, score)))
    atomic.write_bytes(out / "metrics.json", (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    atomic.write_bytes(out / "report.html", html.encode())
    if pictures:
        outcomes = {outcome.token: outcome for outcome in score.breakdown.frames} if score else None
        write_pictures(
            run.detections,
            source,
            out / "pictures",
            frames=run.frames,
            results_frame=run.results_frame,
            num_pictures=pictures,
            outcomes=outcomes,
        )
    console.show(score, record, document["notes"])
    print(out / "report.html")


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


def open_ground_truth(path: Path) -> SampleSource:
    """The source at ``path``: a bag, or a folder of nuScenes tables.

    Raises:
        DatasetError: there is neither.
    """
    if path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file():
        from lidarloop_training.data.bag import BagSource

        return BagSource(path, num_sweeps=1, cameras=False)
    if path.is_dir():
        from lidarloop_training.data.nuscenes import open_nuscenes

        return open_nuscenes(path, num_sweeps=1, cameras=False, lane_map=False)
    raise DatasetError(f"received ground truth {path}; expected a bag (.mcap) or a folder of nuScenes tables")


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


def score_run(run: Run) -> Score:
    """The metrics and their breakdown; every frame must be labelled."""
    from lidarloop_core.geometry.boxes import Boxes3D
    from lidarloop_training.evaluation.breakdown import break_down
    from lidarloop_training.evaluation.matching import DetectionConfig, match_detections
    from lidarloop_training.evaluation.nuscenes_metrics import score
    from lidarloop_training.evaluation.summary import Score

    by_token = {frame.token: frame for frame in run.frames}
    # In the order of the results, which decides among equal scores as in the devkit.
    predictions = {token: by_token[token].to_level(boxes, run.results_frame) for token, boxes in run.detections.items()}
    nothing = Boxes3D.empty(NUSCENES_CLASSES)
    matching = match_detections(
        predictions | {token: nothing for token in by_token if token not in predictions},
        {frame.token: frame.ground_truth() for frame in run.frames},
        DetectionConfig(),
    )
    return Score(score(matching), break_down(matching))


def report_pictures(run: Run, score: Score | None) -> dict[str, list[Picture]]:
    """Heading → pictures: the best and the worst frames, or some spread over the drive where nothing is scored."""
    from lidarloop_core.geometry.boxes import Boxes3D
    from lidarloop_training.evaluation.alignment import spread
    from lidarloop_training.evaluation.breakdown import best_and_worst
    from lidarloop_training.evaluation.pictures import draw_frame

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


def _check_same_model(meta: Mapping[str, Any], record: Latency | None) -> None:
    detected_by, timed = meta.get("model_sha256"), record.model_sha256 if record else None
    if detected_by and timed and detected_by != timed:
        raise DatasetError(
            f"the results are of model {detected_by[:12]}… and the latency is of model {timed[:12]}…; "
            "expected both files of one replay"
        )


def _example(tokens: Sequence[str]) -> str:
    return f"'{tokens[0]}'" if tokens else "none"
