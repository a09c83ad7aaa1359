"""The worst misses of a detector, seen from above and by the camera."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.overlay import wireframes
from lidarloop_core.sample import CameraImage, Sample, SampleSource
from lidarloop_training.evaluation.frames import Frame
from lidarloop_training.evaluation.metrics.matching import UNMATCHED, Matching
from lidarloop_training.evaluation.report.bev import COLORS, draw_bev
from lidarloop_training.evaluation.report.pictures import Picture
from lidarloop_training.evaluation.scoring import Run, Score
from lidarloop_training.evaluation.statistics.breakdown import FrameOutcome, found_by

_EXTENT_M = 15.0
_BEV_PX = 480
_CROP_PX = (640, 480)
_MIN_CROP_WIDTH_PX = 200  # of the camera's own pixels: less would show blocks


@dataclass(frozen=True)
class Miss:
    """An object that was not found.

    Attributes:
        token: its frame.
        index: which of the frame's objects it is.
        num_lidar_pts: points on it; -1 where unknown.
        range_m: from the ego vehicle.
    """

    token: str
    index: int
    num_lidar_pts: int
    range_m: float


def worst_misses(
    matching: Matching, threshold: float, instance_ids: Mapping[str, Sequence[str]], count: int
) -> list[Miss]:
    """The missed objects with the most points on them; where points are unknown, the nearest.

    Args:
        matching: detections against objects.
        threshold: detections below this score count for nothing.
        instance_ids: token → ids of the frame's objects; each physical object is shown once, at its worst.
        count: at most so many.
    """
    objects, tokens = matching.objects, matching.tokens
    missed = np.nonzero(found_by(matching, threshold) == UNMATCHED)[0]
    order = missed[np.lexsort((objects.range_m[missed], -matching.num_lidar_pts[missed]))]
    chosen, shown = [], set()
    for row in order:
        token, index = tokens[objects.frame[row]], int(objects.index[row])
        instance = instance_ids[token][index]
        if instance not in shown:
            shown.add(instance)
            chosen.append(Miss(token, index, int(matching.num_lidar_pts[row]), float(objects.range_m[row])))
        if len(chosen) == count:
            break
    return chosen


def draw_misses(run: Run, score: Score, cameras: SampleSource, count: int) -> list[Picture]:
    """Pictures of the worst misses.

    Args:
        run: what was scored, by class.
        score: its score.
        cameras: the same source with pictures, where it has any.
        count: at most so many.
    """
    frames = {frame.token: frame for frame in run.frames}
    outcomes = {outcome.token: outcome for outcome in score.breakdown.frames}
    ids = {token: frame.annotations.instance_ids for token, frame in frames.items() if frame.annotations is not None}
    pictures = []
    for miss in worst_misses(score.matching, score.breakdown.operating_score, ids, count):
        frame = frames[miss.token]
        sample = cameras[frame.index]
        detections = run.detections.get(miss.token, Boxes3D.empty(score.matching.config.class_names))
        in_ego = frame.to_ego(detections, run.results_frame)
        pictures.append(_draw(miss, frame, sample, in_ego, outcomes[miss.token]))
    return pictures


def _draw(miss: Miss, frame: Frame, sample: Sample, detections: Boxes3D, outcome: FrameOutcome) -> Picture:
    assert frame.annotations is not None
    ego_SE3_lidar = frame.ego_SE3_lidar
    objects = frame.annotations.boxes.transformed(ego_SE3_lidar)
    x, y = objects.centers[miss.index, :2].tolist()
    name = objects.names[miss.index].replace("_", " ")
    points = f"{miss.num_lidar_pts} points" if miss.num_lidar_pts >= 0 else "points unknown"
    png = draw_bev(
        ego_SE3_lidar.transform(sample.keyframe.points[:, :3]),
        detections,
        objects,
        outcome,
        extent_m=_EXTENT_M,
        center_xy_m=(x, y),
        size_px=_BEV_PX,
    )
    in_lidar = detections.transformed(ego_SE3_lidar.inverse())
    jpeg = draw_in_camera(
        sample, frame.annotations.boxes, miss.index, in_lidar[outcome.hits], in_lidar[outcome.inventions]
    )
    caption = f"{name}, {points}, {miss.range_m:.0f} m away: {frame.scene}, frame {frame.index}"
    return Picture(miss.token, caption, png, jpeg)


def draw_in_camera(sample: Sample, objects: Boxes3D, index: int, hits: Boxes3D, inventions: Boxes3D) -> bytes | None:
    """One object in the camera that shows it largest, with the detections around it.

    Args:
        sample: with its pictures.
        objects: all objects, in the keyframe LiDAR's frame.
        index: the one to show.
        hits, inventions: detections that found an object, and those that did not, in the same frame.

    Returns:
        A JPEG file; None where no camera sees the object.
    """
    views = [(camera, _box_px(camera, sample, objects[[index]])) for camera in sample.cameras]
    seen = [(camera, box) for camera, box in views if box is not None]
    if not seen:
        return None
    camera, box = max(seen, key=lambda view: (view[1][2] - view[1][0]) * (view[1][3] - view[1][1]))
    left, top, width, height = _crop(box, camera)
    # The corner of a pixel lies half a pixel before its middle, which is where coordinates are whole.
    picture = Image.fromarray(camera.load()).resize(
        _CROP_PX, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height)
    )
    draw = ImageDraw.Draw(picture)
    scale = _CROP_PX[0] / width
    for boxes, color in (
        (hits, COLORS["hit"]),
        (inventions, COLORS["invention"]),
        (objects[[index]], COLORS["missed"]),
    ):
        for wireframe in wireframes(camera, sample.keyframe, boxes):
            for (u0, v0), (u1, v1) in (wireframe.edges + 0.5 - [left, top]) * scale:
                draw.line((u0, v0, u1, v1), fill=color, width=2)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _box_px(camera: CameraImage, sample: Sample, box: Boxes3D) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom of what the camera sees of a box; None where it sees nothing."""
    found = wireframes(camera, sample.keyframe, box)
    if not found:
        return None
    strokes: npt.NDArray[np.float64] = found[0].edges.reshape(-1, 2)
    (left, top), (right, bottom) = strokes.min(axis=0), strokes.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _crop(box: tuple[float, float, float, float], camera: CameraImage) -> tuple[float, float, float, float]:
    """Left, top, width, height of the part of a picture to show: a box with what surrounds it, within the picture."""
    left, top, right, bottom = box
    aspect = _CROP_PX[0] / _CROP_PX[1]
    wanted = max(2.5 * (right - left), 2.5 * (bottom - top) * aspect, _MIN_CROP_WIDTH_PX)
    width = min(wanted, camera.width, camera.height * aspect)
    height = width / aspect
    x = np.clip((left + right) / 2 - width / 2, 0, camera.width - width)
    y = np.clip((top + bottom) / 2 - height / 2, 0, camera.height - height)
    return float(x), float(y), float(width), float(height)
