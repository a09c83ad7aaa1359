"""``lidarloop evaluate``: a results file and its ground truth become numbers, a report and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.io.outputs import check_output
from lidarloop_training.commands.evaluate_segmenter import SUFFIX, evaluate_segmenter
from lidarloop_training.data.drive_lookup import drive_at, drive_named
from lidarloop_training.data.drive_spec import DriveName
from lidarloop_training.evaluation.options import ScoringOptions

if TYPE_CHECKING:
    from lidarloop_core.sample import SampleSource


def evaluate(
    results: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RESULTS")],
    ground_truth: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="GROUND_TRUTH")],
    *,
    out: Path,
    source: DriveName | None = None,
    compare: Path | None = None,
    scoring: Annotated[ScoringOptions, tyro.conf.arg(name="")] = ScoringOptions(),
    latency: Path | None = None,
    pictures: int = 0,
) -> None:
    """Scores detections with the nuScenes metrics; writes metrics.json and report.html.

    Where the ground truth holds no annotations nothing is scored; the report then has the pictures and the latency.
    A segmenter is scored by its model file: it is run on the drive, and metrics.json holds the IoU of each class.

    Args:
        results: detections: the JSON file that `lidarloop replay` writes, or any nuScenes submission; or the model file
            (.onnx) of a segmenter.
        ground_truth: the bag that was replayed, or a folder of nuScenes tables or of KITTI's object benchmark.
        out: folder to write to.
        source: what GROUND_TRUTH is, by the names of `lidarloop convert`, where it is none of those.
        compare: a second results file for the same frames: what differs, and whether by more than chance.
        scoring: metric, classes and intervals.
        latency: latency.json of the same replay.
        pictures: number of frames to write as PNG files to OUT/pictures, spread evenly.

    Raises:
        ConfigError: options that exclude one another, or an output that is a file.
        DatasetError: a file is missing or malformed, or the results are not of this ground truth.
    """
    if results.suffix == SUFFIX:
        _refuse_options_of_detections(compare, latency, scoring, pictures)
        evaluate_segmenter(results, ground_truth, out, source)
        return
    _check_paths(results, compare, out)
    for name in ("metrics.json", "report.html"):
        check_output(out / name, results, compare, latency, ground_truth)
    scoring.check()
    if pictures < 0:
        raise ConfigError(f"received --pictures {pictures}; expected 0 for none, or how many to write")
    # Heavy imports only now, so that `--help` and wrong usage answer at once.
    from lidarloop_training.evaluation.report import console
    from lidarloop_training.evaluation.report.files import write_report
    from lidarloop_training.evaluation.report.pictures import write_pictures
    from lidarloop_training.evaluation.run import evaluate_results

    drive = open_ground_truth(ground_truth, source)
    run = evaluate_results(results, ground_truth, drive, scoring, compare_with=compare, latency=latency)
    page = write_report(run, out, lambda: open_ground_truth(ground_truth, source, cameras=True))
    if pictures:
        write_pictures(run, out / "pictures", pictures)
    console.show(run)
    print(page)


def _refuse_options_of_detections(
    compare: Path | None, latency: Path | None, scoring: ScoringOptions, pictures: int
) -> None:
    if compare is not None or latency is not None or scoring != ScoringOptions() or pictures:
        raise ConfigError(
            "received a model file together with --compare, --latency, --pictures or an option of how detections are "
            "scored; expected none of them, for a segmenter is scored by the IoU of its points: leave them out"
        )


def open_ground_truth(path: Path, source: DriveName | None = None, *, cameras: bool = False) -> SampleSource:
    """The source at ``path``: what it is said to be, else a bag, nuScenes tables or KITTI's object benchmark.

    Raises:
        DatasetError: the path does not exist or holds none of them.
        BagError: the bag cannot be read.
    """
    drive = drive_at(path) if source is None else drive_named(source, str(path))
    return drive.open(cameras=cameras, lane_map=False)


def _check_paths(results: Path, compare: Path | None, out: Path) -> None:
    """A wrong name shows at once, not after the drive was read."""
    for path in (results, compare):
        if path is not None and not path.is_file():
            raise DatasetError(f"the results {path} do not exist; expected a JSON file as `lidarloop replay` writes it")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"received --out {out}, which is a file; expected a folder, new or there already")
