"""The report in a real browser: its plots are there to be seen, and nothing complains."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.latency import Latency
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth, match_detections
from lidarloop_training.evaluation.metrics.nuscenes import score
from lidarloop_training.evaluation.report.bev import draw_bev
from lidarloop_training.evaluation.report.page import Report, render
from lidarloop_training.evaluation.report.pictures import Picture
from lidarloop_training.evaluation.statistics.breakdown import break_down

pytestmark = pytest.mark.browser

OpenPage = Callable[[Path, Path], tuple[str, list[str]]]


def synthetic_report() -> Report:
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
    cloud = rng.uniform(-50, 50, (2000, 3))
    pictures = [
        Picture(
            o.token, f"frame {o.token}", draw_bev(cloud, predictions[o.token], truths[o.token].boxes, o, size_px=300)
        )
        for o in breakdown.frames[:2]
    ]
    samples_ms = rng.gamma(20, 1.5, 200).tolist()
    statistics = {"p50": 30.0, "p99": 47.0, "p99_9": 52.0, "max": max(samples_ms)}
    return Report(
        title="Detections on a made-up drive",
        subtitle="20 frames",
        metrics=score(matching),
        breakdown=breakdown,
        latency=Latency(statistics, samples_ms, {"infer": statistics}, 200, 200, 0, rate_hz=10.0, rss_mb=400.0),
        picture_groups={"Worst": pictures[:1], "Best": pictures[1:]},
        provenance=[("model", "0" * 64)],
        notes=["a note"],
    )


def test_every_plot_is_seen_and_the_console_is_silent(open_page: OpenPage, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render(synthetic_report()))
    dom, console = open_page(page, tmp_path / "profile")
    # Ten precision–recall charts, the latency histogram and two pictures.
    assert re.search(r'<body[^>]* data-plots="([^"]*)"', dom).group(1) == "13/13"
    assert console == []


def test_pointing_at_a_curve_tells_its_values(open_page: OpenPage, tmp_path: Path) -> None:
    report = synthetic_report()
    car = report.metrics.classes[0]
    point = """<script>addEventListener("load", () => {
      const chart = document.querySelector("svg[data-chart]"), box = chart.getBoundingClientRect();
      chart.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left, clientY: box.top + 5 }));
    });</script></body>"""
    page = tmp_path / "report.html"
    page.write_text(render(report).replace("</body>", point))
    dom, console = open_page(page, tmp_path / "profile")
    tip = re.search(r'<div id="tip"[^>]*>([^<]*)</div>', dom).group(1).splitlines()
    assert tip[0] == "recall 0.00"  # left of the axis
    assert tip[3].split() == ["2", "m", "precision", f"{car.curves[2.0].precision[0]:.2f}"]
    assert console == []


def test_a_broken_page_would_be_noticed(open_page: OpenPage, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    html = render(synthetic_report())
    html = html.replace("data:image/png;base64,", "data:image/png;base64,AAAA", 1)
    page.write_text(html.replace('"use strict";', '"use strict"; setTimeout(() => missing_function(), 0);'))
    dom, console = open_page(page, tmp_path / "profile")
    assert re.search(r'<body[^>]* data-plots="([^"]*)"', dom).group(1) == "12/13"
    assert any("missing_function" in line for line in console)
