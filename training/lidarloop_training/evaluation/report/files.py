"""The files of an evaluation: ``metrics.json`` and ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lidarloop_core.io import atomic
from lidarloop_core.sample import SampleSource
from lidarloop_training.evaluation.report.misses import draw_misses
from lidarloop_training.evaluation.report.page import render
from lidarloop_training.evaluation.report.pictures import ReportPictures, draw_overview
from lidarloop_training.evaluation.report.summary import summarise
from lidarloop_training.evaluation.run import EvaluationRun


def write_report(
    run: EvaluationRun, out: Path, open_with_cameras: Callable[[], SampleSource], *, subject: str = "Detections on"
) -> Path:
    """Writes both files.

    Args:
        run: what to report.
        out: folder to write to.
        open_with_cameras: opens the ground truth once more, with its images. Called only where an object was missed,
            for opening takes time.
        subject: beginning of the page's title, before the names of the drives.

    Returns:
        The page's path.
    """
    document = summarise(run)
    pictures = ReportPictures(draw_overview(run), draw_misses(run, open_with_cameras))
    page = render(run, document, pictures, subject=subject)
    atomic.write_bytes(out / "metrics.json", (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    atomic.write_bytes(out / "report.html", page.encode())
    return out / "report.html"
