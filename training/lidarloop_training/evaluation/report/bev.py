"""A sample from above: cloud, detections and ground truth, as a PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from lidarloop_core.geometry.boxes import Boxes3D, bev_corners
from lidarloop_training.evaluation.statistics.breakdown import SampleOutcome

# Distinct for colour-blind readers too; the report's legend uses the same.
COLORS = {
    "detection": "#35c4ff",
    "object": "#e8e8e8",
    "hit": "#3ddc84",
    "invention": "#ffb020",
    "missed": "#ff4d6d",
}
_BACKGROUND = "#0d1321"
_RINGS = "#2a3550"
_HEIGHT = LinearSegmentedColormap.from_list("height", ["#46577d", "#8fa3cc", "#e3eaf8"])


class ColoredPoints(NamedTuple):
    """Points with colours of their own.

    Attributes:
        points: (N, ≥3) metres, in any frame with x forward, y left and the vehicle at the origin.
        colors: (N, 3) uint8.
    """

    points: npt.NDArray[Any]
    colors: npt.NDArray[np.uint8]


def draw_bev(
    points: npt.NDArray[Any] | ColoredPoints,
    boxes: Boxes3D,
    gt: Boxes3D | None = None,
    outcome: SampleOutcome | None = None,
    *,
    title: str = "",
    extent_m: float = 51.2,
    center_xy_m: tuple[float, float] = (0.0, 0.0),
    size_px: int = 720,
) -> bytes:
    """Draws one sample; x (forward) points up, y (left) to the left.

    Args:
        points: (N, ≥3) metres, in any frame with x forward, y left and the vehicle at the origin, coloured by height;
            or points with colours.
        boxes: detections in the same frame.
        gt: objects in the same frame, drawn in thin lines under the detections.
        outcome: indices of the boxes that were found, invented, missed. With it only these are drawn, coloured by
            verdict.
        title: text in the upper left corner.
        extent_m: half the side of the square shown, metres.
        center_xy_m: middle of the square, metres.
        size_px: side of the picture, pixels.

    Returns:
        The PNG file.
    """
    figure = Figure(figsize=(size_px / 100, size_px / 100), dpi=100, facecolor=_BACKGROUND)
    axes = figure.add_axes((0, 0, 1, 1))
    x, y = center_xy_m
    axes.set(xlim=(y + extent_m, y - extent_m), ylim=(x - extent_m, x + extent_m), aspect="equal")
    axes.axis("off")
    _draw_rings(axes, extent_m + math.hypot(x, y))
    _draw_cloud(axes, points)
    if outcome is None:
        if gt is not None:
            _draw_boxes(axes, gt.values, COLORS["object"], width=1.0)
        _draw_boxes(axes, boxes.values, COLORS["detection"])
    else:
        assert gt is not None
        _draw_boxes(axes, gt.values[outcome.found], COLORS["object"], width=0.8)
        _draw_boxes(axes, gt.values[outcome.missed], COLORS["missed"])
        _draw_boxes(axes, boxes.values[outcome.inventions], COLORS["invention"])
        _draw_boxes(axes, boxes.values[outcome.hits], COLORS["hit"])
        _draw_names(axes, gt[outcome.missed], COLORS["missed"])
        _draw_names(axes, boxes[outcome.inventions], COLORS["invention"])
    axes.text(0.02, 0.98, title, transform=axes.transAxes, color="white", fontsize=13, va="top")
    return _png(figure)


def _draw_rings(axes: Any, extent_m: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 181)
    for radius in range(10, int(extent_m) + 1, 10):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=_RINGS, linewidth=0.7)
        axes.text(0, -radius, f"{radius} m", color="#7585aa", fontsize=9, ha="center", va="bottom", clip_on=True)
    axes.fill([0.7, -0.7, 0], [-1, -1, 1.4], color="white")  # where the sensor is and where it looks


def _draw_cloud(axes: Any, points: npt.NDArray[Any] | ColoredPoints) -> None:
    if isinstance(points, ColoredPoints):
        axes.scatter(points.points[:, 1], points.points[:, 0], c=points.colors / 255, s=2.0, linewidths=0)
        return
    if not len(points):
        return
    ground_m = float(np.percentile(points[:, 2], 10))  # about, whatever the frame's own height
    axes.scatter(
        points[:, 1], points[:, 0], c=points[:, 2] - ground_m, cmap=_HEIGHT, vmin=0.0, vmax=4.0, s=1.1, linewidths=0
    )


def _draw_boxes(axes: Any, values: npt.NDArray[Any], color: str, width: float = 1.6) -> None:
    """Outlines with a stroke from the centre over the front edge."""
    if not len(values):
        return
    outline = bev_corners(values)[:, [0, 1, 2, 3, 0], ::-1]
    heading = np.stack([np.cos(values[:, 6]), np.sin(values[:, 6])], axis=1)
    nose = values[:, :2] + heading * (values[:, 3:4] / 2 + 0.6)
    strokes: Sequence[npt.NDArray[Any]] = [*outline, *np.stack([values[:, :2], nose], axis=1)[:, :, ::-1]]
    axes.add_collection(LineCollection(strokes, colors=color, linewidths=width))


def _draw_names(axes: Any, boxes: Boxes3D, color: str) -> None:
    for (x, y), name in zip(boxes.centers[:, :2], boxes.names, strict=True):
        axes.text(y - 1.2, x + 1.2, name.replace("_", " "), color=color, fontsize=9, clip_on=True)


def _png(figure: Figure) -> bytes:
    """The picture with a palette: a third of the size, and no difference to the eye."""
    pixels, picture = io.BytesIO(), io.BytesIO()
    figure.savefig(pixels, format="rgba", facecolor=_BACKGROUND)
    width, height = (round(side * figure.dpi) for side in figure.get_size_inches())
    full = Image.frombytes("RGBA", (width, height), pixels.getvalue()).convert("RGB")
    # Maximum coverage keeps the colours of the few pixels that boxes are.
    full.quantize(colors=128, method=Image.Quantize.MAXCOVERAGE).save(picture, "PNG")
    return picture.getvalue()
