"""The report's charts as inline SVG: sharp at any size, in the page's colours, with the values for its hover script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from lidarloop_core.colors import class_color
from lidarloop_training.evaluation.metrics.nuscenes import RECALL_GRID, ClassMetrics


@dataclass(frozen=True)
class _Plane:
    """The plotted area of a chart: data (x, y) to pixels of the SVG."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int
    height: int
    left: int = 34
    right: int = 8
    top: int = 8
    bottom: int = 28

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)

    def path(self, xs: npt.NDArray[np.float64], ys: npt.NDArray[np.float64]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))

    def axes(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_title: str) -> str:
        parts, end, below = [], self.width - self.right, self.height - self.bottom + 13
        for tick in y_ticks:
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{self.left - 5}" y="{y + 3:.1f}" text-anchor="end">{tick:g}</text>')
        for tick in x_ticks:
            parts.append(f'<text x="{self.x(tick):.1f}" y="{below}" text-anchor="middle">{tick:g}</text>')
        middle = (self.left + end) / 2
        parts.append(f'<text x="{middle:.1f}" y="{self.height - 3}" text-anchor="middle">{escape(x_title)}</text>')
        return "".join(parts)


def precision_recall_chart(metrics: ClassMetrics) -> Markup:
    """One class: precision over recall, a line for each match distance."""
    plane = _Plane((0, 1), (0, 1), width=250, height=180)
    lines, series = [], []
    for i, (distance, curve) in enumerate(metrics.curves.items()):
        # The curve ends where detections do; beyond, its zeros would draw a cliff that is not there.
        end = curve.last_reached + 1
        precision, recall = curve.precision[:end], RECALL_GRID[:end]
        if curve.confidence.any():
            lines.append(f'<polyline class="curve c{i}" points="{plane.path(recall, precision)}"/>')
        series.append({"name": f"{distance:g} m", "y": np.round(curve.precision, 3).tolist(), "end": end})
    ticks = (0, 0.5, 1)
    return _svg(
        plane,
        f"precision over recall, {metrics.name}",
        plane.axes(ticks, ticks, "recall") + "".join(lines) + '<line class="cursor" y1="0" y2="0"/>',
        kind="pr",
        data={"x0": plane.left, "x1": plane.width - plane.right, "y0": plane.top, "y1": plane.y(0), "series": series},
    )


def error_chart(title: str, values: Mapping[str, npt.NDArray[np.float64]]) -> Markup:
    """Which share of the matches of each class has at most a certain error.

    Args:
        title: name of the error with its unit.
        values: class → (K,) error of each match; classes keep their colours over all charts.
    """
    everything = np.concatenate([np.zeros(0), *values.values()])
    # The few worst would squeeze all others to the left.
    end = float(np.percentile(everything, 98)) if len(everything) else 1.0
    plane = _Plane((0, end or 1.0), (0, 1), width=340, height=220)
    lines = []
    for name, errors in values.items():
        if not len(errors):
            continue
        share = np.linspace(0, 1, min(len(errors), 80) + 1)
        at_most = np.quantile(errors, share)
        shown = at_most <= end
        points = plane.path(at_most[shown], share[shown])
        lines.append(
            f'<polyline class="curve" style="stroke:{class_color(name)}" points="{points}">'
            f"<title>{escape(name.replace('_', ' '))}: median {np.median(errors):.3g}, {len(errors)} matches</title>"
            "</polyline>"
        )
    axes = plane.axes(_ticks(end or 1.0, 5), (0, 0.5, 1), title)
    return _svg(plane, f"share of matches over {title}", axes + "".join(lines), kind="errors", data={})


def comparison_chart(first: ClassMetrics, second: ClassMetrics, distance_m: float) -> Markup:
    """Precision over recall of two results at one match distance."""
    plane = _Plane((0, 1), (0, 1), width=250, height=180)
    lines = []
    for css, metrics in (("c2", first), ("c0", second)):
        curve = metrics.curves[distance_m]
        end = curve.last_reached + 1
        if curve.confidence.any():
            lines.append(
                f'<polyline class="curve {css}" points="{plane.path(RECALL_GRID[:end], curve.precision[:end])}"/>'
            )
    ticks = (0, 0.5, 1)
    return _svg(
        plane,
        f"precision over recall of both, {first.name}",
        plane.axes(ticks, ticks, "recall") + "".join(lines),
        kind="both",
        data={},
    )


def latency_histogram(samples_ms: npt.ArrayLike, deadline_ms: float) -> Markup:
    """How long the answers took, with the deadline."""
    samples = np.asarray(samples_ms, dtype=np.float64)
    end = max(float(samples.max()) * 1.05, deadline_ms * 1.15)
    counts, edges = np.histogram(samples, bins=60, range=(0.0, end))
    plane = _Plane((0, end), (0, float(counts.max())), width=780, height=200)
    bars = "".join(
        f'<rect class="bar{" late" if low >= deadline_ms else ""}" x="{plane.x(low):.1f}" y="{plane.y(count):.1f}" '
        f'width="{max(plane.x(high) - plane.x(low) - 1, 0.5):.1f}" height="{plane.y(0) - plane.y(count):.1f}">'
        f"<title>{low:.1f}–{high:.1f} ms: {count} frames</title></rect>"
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    )
    marks = "".join(
        f'<line class="mark {css}" x1="{plane.x(at):.1f}" x2="{plane.x(at):.1f}" y1="{plane.top}" y2="{plane.y(0)}"/>'
        f'<text class="{css}" x="{plane.x(at) + 4:.1f}" y="{plane.top + 9 + 12 * row}">{label}</text>'
        for css, at, label, row in (
            ("p50", float(np.percentile(samples, 50)), "p50", 0),
            ("p99", float(np.percentile(samples, 99)), "p99", 1),
            ("deadline", deadline_ms, f"deadline {deadline_ms:g} ms", 0),
        )
    )
    return _svg(
        plane,
        "stamp → publish latency",
        plane.axes(_ticks(end, 8), _ticks(float(counts.max()), 3), "stamp → publish, ms") + bars + marks,
        kind="histogram",
        data={},
    )


def _ticks(end: float, most: int) -> list[float]:
    """At most ``most`` round numbers from 0 to ``end``."""
    ticks = MaxNLocator(nbins=most, steps=[1, 2, 5, 10], integer=end >= most).tick_values(0.0, end)
    return [float(tick) for tick in ticks if 0 <= tick <= end]


def _svg(plane: _Plane, title: str, body: str, kind: str, data: dict[str, object]) -> Markup:
    values = f' data-chart="{escape(json.dumps(data))}"' if data else ""
    return Markup(
        f'<svg class="chart {kind}" viewBox="0 0 {plane.width} {plane.height}" role="img" '
        f'aria-label="{escape(title)}"{values}>{body}</svg>'
    )
