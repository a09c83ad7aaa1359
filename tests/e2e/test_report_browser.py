"""The report in a real browser: its plots are there to be seen, and nothing complains."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import Sample, Sweep
from lidarloop_training.evaluation.latency import Latency
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth, match_detections
from lidarloop_training.evaluation.metrics.nuscenes import score
from lidarloop_training.evaluation.report.bev import draw_bev
from lidarloop_training.evaluation.report.page import render
from lidarloop_training.evaluation.report.pictures import Picture, ReportPictures
from lidarloop_training.evaluation.report.summary import summarise
from lidarloop_training.evaluation.run import EvaluationRun, ResultsFile
from lidarloop_training.evaluation.samples import read_samples
from lidarloop_training.evaluation.scoring import Detections, Score
from lidarloop_training.evaluation.statistics.breakdown import break_down
from lidarloop_training.evaluation.statistics.confusion import confuse
from tests.training.sources import MadeSource

pytestmark = pytest.mark.browser

OpenPage = Callable[[Path, Path], tuple[str, list[str]]]


@dataclass(frozen=True)
class InMemory(MadeSource):
    """Samples without points: pictures are drawn elsewhere."""

    tokens: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> Sample:
        sweep = Sweep(np.zeros((0, 3), np.float32), ("x", "y", "z"), 0, SE3.identity(), None)
        return Sample(self.tokens[index], "synthetic", 0, (sweep,))


def synthetic_run() -> tuple[EvaluationRun, ReportPictures]:
    """Twenty samples with noisy detections, two of them drawn, and a record of latency."""
    rng = np.random.default_rng(0)
    predictions, truths = {}, {}
    for frame in range(20):
        values = np.column_stack(
            [
                rng.uniform(-25, 25, (30, 2)),
                np.zeros(30),
                rng.uniform(1, 4, (30, 3)),
                rng.uniform(-3, 3, 30),
                np.zeros((30, 2)),
            ]
        )
        labels = rng.integers(0, 10, 30)
        truths[f"{frame}"] = GroundTruth(
            Boxes3D(values, np.ones(30), labels, NUSCENES_CLASSES),
            rng.integers(1, 200, 30),
            rng.random(30).astype("f4"),
        )
        values[:, :2] += rng.normal(0, 0.6, (30, 2))
        predictions[f"{frame}"] = Boxes3D(values, rng.random(30), labels, NUSCENES_CLASSES)
    matching = match_detections(predictions, truths, DetectionConfig())
    breakdown = break_down(matching)
    scored = Score(matching, score(matching), breakdown, confuse(matching, breakdown.operating_score))
    cloud = rng.uniform(-50, 50, (2000, 3))
    pictures = [
        Picture(
            o.token, f"frame {o.token}", draw_bev(cloud, predictions[o.token], truths[o.token].boxes, o, size_px=300)
        )
        for o in breakdown.samples[:2]
    ]
    samples_ms = rng.gamma(20, 1.5, 200).tolist()
    statistics = {"p50": 30.0, "p99": 47.0, "p99_9": 52.0, "max": max(samples_ms)}
    latency = Latency(statistics, samples_ms, {"infer": statistics}, 200, 200, 0, rate_hz=10.0, rss_mb=400.0)
    drive = InMemory(tuple(predictions))
    samples = read_samples(drive)
    results = ResultsFile(
        Path("detections.json"), {"model_sha256": "0" * 64}, Detections(drive, samples, {}, "lidar"), ["a note"]
    )
    run = EvaluationRun(results, Path("drive.mcap"), scored, latency=latency)
    return run, ReportPictures({"Worst": pictures[:1], "Best": pictures[1:]})


def plots(dom: str) -> str:
    """Visible plots of all plots, as the page counts them."""
    found = re.search(r'<body[^>]* data-plots="([^"]*)"', dom)
    assert found is not None
    return found.group(1)


def page_of(run: EvaluationRun, pictures: ReportPictures) -> str:
    return render(run, summarise(run), pictures)


def test_every_plot_is_seen_and_the_console_is_silent(open_page: OpenPage, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(page_of(*synthetic_run()))
    dom, console = open_page(page, tmp_path / "profile")
    # Ten precision–recall charts, four of the errors, the latency histogram and two pictures.
    assert plots(dom) == "17/17"
    assert console == []


def test_pointing_at_a_curve_shows_its_values(open_page: OpenPage, tmp_path: Path) -> None:
    run, pictures = synthetic_run()
    assert run.score is not None
    car = run.score.metrics.classes[0]
    point = """<script>addEventListener("load", () => {
      const chart = document.querySelector("svg[data-chart]"), box = chart.getBoundingClientRect();
      chart.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left, clientY: box.top + 5 }));
    });</script></body>"""
    page = tmp_path / "report.html"
    page.write_text(page_of(run, pictures).replace("</body>", point))
    dom, console = open_page(page, tmp_path / "profile")
    found = re.search(r'<div id="tip"[^>]*>([^<]*)</div>', dom)
    assert found is not None
    tip = found.group(1).splitlines()
    assert tip[0] == "recall 0.00"  # left of the axis
    assert tip[3].split() == ["2", "m", "precision", f"{car.curves[2.0].precision[0]:.2f}"]
    assert console == []


def test_a_broken_page_would_be_noticed(open_page: OpenPage, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    html = page_of(*synthetic_run())
    html = html.replace("data:image/png;base64,", "data:image/png;base64,AAAA", 1)
    page.write_text(html.replace('"use strict";', '"use strict"; setTimeout(() => missing_function(), 0);'))
    dom, console = open_page(page, tmp_path / "profile")
    assert plots(dom) == "16/17"
    assert any("missing_function" in line for line in console)
