"""Boxes drawn over a camera's picture: edges clipped to what the camera can see, the heading marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from lidarloop_core.geometry.boxes import Boxes3D, corners
from lidarloop_core.geometry.camera import project
from lidarloop_core.sample import CameraImage, Sweep, camera_SE3_lidar

NEAR_M = 0.1
"""Least depth of what is drawn: nearer to the camera's plane the projection grows without bound."""

_NAMED_ABOVE_PX = 26.0
"""Least height of a drawn box that gets its name; below, its colour alone shows the class."""

# corners() gives the bottom counter-clockwise from front-left, then the top in the same order.
_EDGES = np.array(
    [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)], dtype=np.int64
)
_FRONT_EDGES = np.array([8, 11, 7, 3])  # the front face is drawn thicker
_SHADOW = (0, 0, 0, 150)


@dataclass(frozen=True)
class Layer:
    """Boxes of one kind, e.g. the ground truth.

    Attributes:
        name: name in a legend and in Rerun's tree.
        boxes: N boxes in the keyframe LiDAR's frame.
        colors: N colours, "#rrggbb".
    """

    name: str
    boxes: Boxes3D
    colors: tuple[str, ...]


@dataclass(frozen=True)
class Wireframe:
    """The visible strokes of one box in a picture.

    Attributes:
        index: index of the box.
        edges: (E, 2, 2) pixels, start and end of each edge, clipped to the picture.
        is_front: (E,) bool, whether an edge belongs to the front face.
        heading: (1, 2, 2) pixels from the middle of the floor to the middle of its front edge, or (0, 2, 2).
        depth_m: depth of the box's centre along the optical axis, metres.
    """

    index: int
    edges: npt.NDArray[np.float64]
    is_front: npt.NDArray[np.bool_]
    heading: npt.NDArray[np.float64]
    depth_m: float


def wireframes(image: CameraImage, keyframe: Sweep, boxes: Boxes3D) -> list[Wireframe]:
    """The boxes that reach into a picture, farthest first.

    Args:
        image: the camera; its picture is not loaded.
        keyframe: the sweep in whose frame the boxes are.
        boxes: N boxes.
    """
    to_camera = camera_SE3_lidar(image, keyframe)
    values = boxes.values.astype(np.float64)
    planes = _frustum(image)
    found = []
    for index, vertices in enumerate(corners(values)):
        vertices = to_camera.transform(vertices)
        floor = np.stack([vertices[:4].mean(axis=0), (vertices[0] + vertices[3]) / 2])
        edges, kept = _clip(vertices[_EDGES], planes)
        if not len(edges):
            continue
        heading, _ = _clip(floor[None], planes)
        found.append(
            Wireframe(
                index,
                _pixels(edges, image),
                np.isin(kept, _FRONT_EDGES),
                _pixels(heading, image),
                float(vertices[:, 2].mean()),
            )
        )
    return sorted(found, key=lambda wireframe: -wireframe.depth_m)


def draw_overlay(image: CameraImage, keyframe: Sweep, layers: list[Layer], *, width_px: int) -> Image.Image:
    """The picture, scaled to a width, with the boxes of all layers; later layers are drawn on top."""
    scale = width_px / image.width
    size = (width_px, round(image.height * scale))
    picture = Image.fromarray(image.load()).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture, "RGBA")
    for layer in layers:
        for wireframe in wireframes(image, keyframe, layer.boxes):
            _draw_wireframe(draw, wireframe, layer, scale)
    draw.text((8, 6), image.name, fill="white", font=_font(18), stroke_width=2, stroke_fill="black")
    return picture


def _draw_wireframe(draw: ImageDraw.ImageDraw, wireframe: Wireframe, layer: Layer, scale: float) -> None:
    # The middle of the first pixel is at (0, 0): a resized picture's pixels keep their outer corners.
    edges, heading = ((strokes + 0.5) * scale - 0.5 for strokes in (wireframe.edges, wireframe.heading))
    color = layer.colors[wireframe.index]
    left, top = edges.reshape(-1, 2).min(axis=0).tolist()
    height = float(edges[..., 1].max()) - top
    front_width = 3 if height > 2 * _NAMED_ABOVE_PX else 2
    widths = np.where(wireframe.is_front, front_width, 1).tolist()
    for stroke, width in zip(edges.reshape(-1, 4).tolist(), widths, strict=True):
        draw.line(stroke, fill=_SHADOW, width=width + 2)
    for stroke, width in zip(edges.reshape(-1, 4).tolist(), widths, strict=True):
        draw.line(stroke, fill=color, width=width)
    for stroke in heading.reshape(-1, 4).tolist():
        draw.line(stroke, fill=color, width=2)
    if height >= _NAMED_ABOVE_PX:
        place, text = (left, max(top - 15, 0)), _caption(layer.boxes, wireframe.index)
        draw.text(place, text, fill=color, font=_font(12), stroke_width=1, stroke_fill="black")


def _caption(boxes: Boxes3D, index: int) -> str:
    name, score = boxes.names[index].replace("_", " "), float(boxes.scores[index])
    return name if score == 1 else f"{name} {score:.2f}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _frustum(image: CameraImage) -> npt.NDArray[np.float64]:
    """(5, 4) planes n·p + d ≥ 0 in the optical frame: in front of the camera and within the picture's four sides.

    ``u = (row 0 of K)·p / depth``: so ``u ≥ u0`` is linear in p where the depth is positive.
    """
    k = image.intrinsics
    near = np.array([0.0, 0.0, 1.0])
    normals = [near, k[0] + 0.5 * k[2], (image.width - 0.5) * k[2] - k[0]]
    normals += [k[1] + 0.5 * k[2], (image.height - 0.5) * k[2] - k[1]]
    return np.column_stack([np.stack(normals), [-NEAR_M, 0, 0, 0, 0]])


def _clip(
    segments: npt.NDArray[np.float64], planes: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The parts of (S, 2, 3) segments on the inner side of all planes, and which segments they are parts of."""
    kept = np.arange(len(segments))
    for plane in planes:
        inside = segments @ plane[:3] + plane[3]  # (S, 2)
        touched = (inside > 0).any(axis=1)
        segments, inside, kept = segments[touched].copy(), inside[touched], kept[touched]
        for end, other in ((0, 1), (1, 0)):
            cut = inside[:, end] < 0
            share = inside[cut, other] / (inside[cut, other] - inside[cut, end])
            start = segments[cut, other]
            segments[cut, end] = start + share[:, None] * (segments[cut, end] - start)
    return segments, kept


def _pixels(segments: npt.NDArray[np.float64], image: CameraImage) -> npt.NDArray[np.float64]:
    """(S, 2, 3) in the optical frame → (S, 2, 2) pixels."""
    pixels, _ = project(segments.reshape(-1, 3), image.intrinsics)
    result: npt.NDArray[np.float64] = pixels.reshape(-1, 2, 2)
    return result
