"""One picture of a sample, made without a screen: the cloud from above and every camera, with the boxes on them."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.overlay import Layer, draw_overlay
from lidarloop_core.sample import CameraImage
from lidarloop_training.evaluation.report.bev import COLORS, draw_bev
from lidarloop_training.viewer.frames import ShownFrame

_BEV_PX = 900
_ROW_PX = 2400
_CAMERA_PX = 800  # smaller pictures are enlarged to this, or the strokes would hide what is in them
_MARGIN_PX = 4
_BACKGROUND = "#0d1321"
_CLASS_COLORS = (
    (("pedestrian", "person", "child"), "#ff5d8f"),
    (("cycl", "bike", "rider"), "#d19cff"),
    (("truck", "bus", "trailer", "tram", "construction", "van", "large"), "#ff7a45"),
    (("car", "vehicle"), "#ffb020"),
    (("cone", "barrier", "sign", "bollard"), "#f5f03c"),
)


def draw_sheet(frame: ShownFrame, *, range_m: float) -> Image.Image:
    """The cloud from above at the left and the cameras at the right; a single camera stands above the cloud.

    Cameras that look ahead come first, then those that look back, each from the vehicle's left to its right.
    """
    rows = [
        [_picture(frame, image, min(_ROW_PX // len(row), max(image.width, _CAMERA_PX))) for image in row]
        for row in _rows(frame.sample.cameras)
    ]
    if not rows:
        return _bev(frame, range_m, _BEV_PX)
    cameras = _stack([_beside(row) for row in rows])
    if len(frame.sample.cameras) == 1:
        return _stack([cameras, _bev(frame, range_m, cameras.width)])
    return _beside([_bev(frame, range_m, max(cameras.height, _BEV_PX)), cameras])


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
        found.append(Layer("ground_truth", frame.objects, tuple(map(_class_color, frame.objects.names))))
    if frame.detections is not None:
        found.append(Layer("detections", frame.detections, (COLORS["detection"],) * len(frame.detections)))
    return found


def _class_color(name: str) -> str:
    """By words in the name: data sets have many names for the same things."""
    lowered = name.lower()
    return next((color for words, color in _CLASS_COLORS if any(word in lowered for word in words)), COLORS["object"])


def _bev(frame: ShownFrame, range_m: float, size_px: int) -> Image.Image:
    keyframe = frame.sample.keyframe
    ego_SE3_lidar = keyframe.ego_SE3_lidar  # so that forward is up however the LiDAR is mounted
    png = draw_bev(
        ego_SE3_lidar.transform(keyframe.points[:, :3]),
        (frame.detections if frame.detections is not None else Boxes3D.empty(("object",))).transformed(ego_SE3_lidar),
        None if frame.objects is None else frame.objects.transformed(ego_SE3_lidar),
        title=f"{frame.sample.scene}  frame {frame.index}",
        extent_m=range_m,
        size_px=size_px,
    )
    return Image.open(io.BytesIO(png)).convert("RGB")


def _picture(frame: ShownFrame, image: CameraImage, width_px: int) -> Image.Image:
    return draw_overlay(image, frame.sample.keyframe, layers(frame), width_px=width_px)


def _rows(cameras: tuple[CameraImage, ...]) -> list[list[CameraImage]]:
    """Cameras that look ahead or to the side, and cameras that look back."""

    def axis(image: CameraImage) -> tuple[float, float]:
        ahead, left, _ = image.ego_SE3_camera.rotation[:, 2]  # of the optical axis
        return float(ahead), float(left)

    from_left = sorted(cameras, key=lambda image: -axis(image)[1])
    rows = ([i for i in from_left if axis(i)[0] > -0.2], [i for i in from_left if axis(i)[0] <= -0.2])
    return [row for row in rows if row]
