"""One picture of a sample, made without a screen: the cloud from above and every camera, with the boxes on them."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from lidarloop_core.colors import class_color
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.overlay import NEAR_M, Layer, draw_overlay
from lidarloop_core.labelling.points.frustum import view
from lidarloop_core.sample import CameraImage
from lidarloop_training.evaluation.report.bev import COLORS, ColoredPoints, draw_bev
from lidarloop_training.viewer.frames import ShownFrame
from lidarloop_training.viewer.unit_colors import UnitColors

_BEV_PX = 900
_ROW_PX = 2400
_CAMERA_PX = 800  # smaller pictures are enlarged to this, or the strokes would hide what is in them
_MARGIN_PX = 4
_DOT_PX = 1.5  # radius
_BACKGROUND = "#0d1321"


def draw_sheet(frame: ShownFrame, *, range_m: float, colors: UnitColors | None = None) -> Image.Image:
    """The cloud from above at the left and the cameras at the right; a single camera stands above the cloud.

    Cameras that look ahead come first, then those that look back, each from the vehicle's left to its right.

    Args:
        frame: what is shown.
        range_m: half the side of the square seen from above, metres.
        colors: colours of the keyframe's points by unit; those of units are drawn into the pictures too. None for
            colours by height, seen from above alone.
    """
    rows = [
        [_picture(frame, image, min(_ROW_PX // len(row), max(image.width, _CAMERA_PX)), colors) for image in row]
        for row in _rows(frame.sample.cameras)
    ]
    if not rows:
        return _bev(frame, range_m, _BEV_PX, colors)
    cameras = _stack([_beside(row) for row in rows])
    if len(frame.sample.cameras) == 1:
        return _stack([cameras, _bev(frame, range_m, cameras.width, colors)])
    return _beside([_bev(frame, range_m, max(cameras.height, _BEV_PX), colors), cameras])


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures) + _MARGIN_PX * (len(pictures) - 1)
    joined = Image.new("RGB", (width, max(picture.height for picture in pictures)), _BACKGROUND)
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width + _MARGIN_PX
    return joined


def _stack(pictures: Sequence[Image.Image]) -> Image.Image:
    height = sum(picture.height for picture in pictures) + _MARGIN_PX * (len(pictures) - 1)
    joined = Image.new("RGB", (max(picture.width for picture in pictures), height), _BACKGROUND)
    top = 0
    for picture in pictures:
        joined.paste(picture, (0, top))
        top += picture.height + _MARGIN_PX
    return joined


def layers(frame: ShownFrame) -> list[Layer]:
    """The boxes of a frame by kind: ground truth in the colours of its classes, detections in theirs and on top."""
    found = []
    if frame.objects is not None:
        found.append(Layer("ground_truth", frame.objects, tuple(map(class_color, frame.objects.names))))
    if frame.detections is not None:
        found.append(Layer("detections", frame.detections, (COLORS["detection"],) * len(frame.detections)))
    return found


def _bev(frame: ShownFrame, range_m: float, size_px: int, colors: UnitColors | None) -> Image.Image:
    keyframe = frame.sample.keyframe
    ego_SE3_lidar = keyframe.ego_SE3_lidar  # so that forward is up however the LiDAR is mounted
    points = ego_SE3_lidar.transform(keyframe.points[:, :3])
    png = draw_bev(
        points if colors is None else ColoredPoints(points, colors.rgb),
        (frame.detections if frame.detections is not None else Boxes3D.empty(("object",))).transformed(ego_SE3_lidar),
        None if frame.objects is None else frame.objects.transformed(ego_SE3_lidar),
        title=f"{frame.sample.scene}  frame {frame.index}",
        extent_m=range_m,
        size_px=size_px,
    )
    return Image.open(io.BytesIO(png)).convert("RGB")


def _picture(frame: ShownFrame, image: CameraImage, width_px: int, colors: UnitColors | None) -> Image.Image:
    keyframe = frame.sample.keyframe
    picture = draw_overlay(image, keyframe, layers(frame), width_px=width_px)
    if colors is not None:
        seen = view(keyframe.points[colors.has_unit, :3], image, keyframe, NEAR_M)
        # The middle of the first pixel is at (0, 0): a resized picture's pixels keep their outer corners.
        dots = (seen.pixels + 0.5) * (width_px / image.width) - 0.5
        draw = ImageDraw.Draw(picture)
        for (u, v), color in zip(dots.tolist(), colors.rgb[colors.has_unit][seen.index].tolist(), strict=True):
            draw.ellipse((u - _DOT_PX, v - _DOT_PX, u + _DOT_PX, v + _DOT_PX), fill=tuple(color))
    return picture


def _rows(cameras: tuple[CameraImage, ...]) -> list[list[CameraImage]]:
    """Cameras that look ahead or to the side, and cameras that look back."""

    def axis(image: CameraImage) -> tuple[float, float]:
        ahead, left, _ = image.ego_SE3_camera.rotation[:, 2]  # of the optical axis
        return float(ahead), float(left)

    from_left = sorted(cameras, key=lambda image: -axis(image)[1])
    rows = ([i for i in from_left if axis(i)[0] > -0.2], [i for i in from_left if axis(i)[0] <= -0.2])
    return [row for row in rows if row]
