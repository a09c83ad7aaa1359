"""The worst misses of a detector, seen from above and by the camera."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.overlay import wireframes
from lidarloop_core.sample import CameraImage, Sample, SampleSource
from lidarloop_training.evaluation.metrics.matching import UNMATCHED, Matching
from lidarloop_training.evaluation.report.bev import COLORS, draw_bev
from lidarloop_training.evaluation.report.pictures import Picture
from lidarloop_training.evaluation.run import EvaluationRun
from lidarloop_training.evaluation.samples import SampleRecord
from lidarloop_training.evaluation.statistics.breakdown import SampleOutcome, found_by

NUM_MISSES = 6
_EXTENT_M = 15.0
_BEV_PX = 480
_CROP_PX = (640, 480)
_MIN_CROP_WIDTH_PX = 200  # of the camera's own pixels: less would show blocks


@dataclass(frozen=True)
class Miss:
    """An object that was not found.

    Attributes:
        token: sample token.
        index: position among the sample's objects.
        num_lidar_pts: number of points on it; -1 where unknown.
        range_m: distance from the ego vehicle in the ground plane, metres.
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
        instance_ids: token → ids of the sample's objects; each physical object is shown once, at its worst.
        count: largest number of misses.
    """
    objects, tokens = matching.objects, matching.tokens
    missed = np.nonzero(found_by(matching, threshold) == UNMATCHED)[0]
    order = missed[np.lexsort((objects.range_m[missed], -matching.num_lidar_pts[missed]))]
    chosen, shown = [], set()
    for row in order:
        token, index = tokens[objects.sample[row]], int(objects.index[row])
        instance = instance_ids[token][index]
        if instance not in shown:
            shown.add(instance)
            chosen.append(Miss(token, index, int(matching.num_lidar_pts[row]), float(objects.range_m[row])))
        if len(chosen) == count:
            break
    return chosen


def draw_misses(
    run: EvaluationRun, open_with_cameras: Callable[[], SampleSource], count: int = NUM_MISSES
) -> list[Picture]:
    """Pictures of the worst misses; none where nothing was scored or missed.

    Args:
        run: detections with their score.
        open_with_cameras: opens the same source with its images, where it has any; called only if there is a miss.
        count: largest number of pictures.
    """
    score, detections = run.score, run.results.detections
    if score is None or all(len(outcome.missed) == 0 for outcome in score.breakdown.samples):
        return []
    source = open_with_cameras()
    samples = {sample.token: sample for sample in detections.samples}
    outcomes = {outcome.token: outcome for outcome in score.breakdown.samples}
    ids = {s.token: s.annotations.instance_ids for s in detections.samples if s.annotations is not None}
    pictures = []
    for miss in worst_misses(score.matching, score.breakdown.operating_score, ids, count):
        record = samples[miss.token]
        boxes = detections.boxes.get(miss.token, Boxes3D.empty(score.matching.config.class_names))
        in_ego = record.to_ego(boxes, detections.frame)
        pictures.append(_draw(miss, record, source[record.index], in_ego, outcomes[miss.token]))
    return pictures


def _draw(miss: Miss, record: SampleRecord, sample: Sample, detections: Boxes3D, outcome: SampleOutcome) -> Picture:
    """One miss; ``detections`` in the vehicle's frame."""
    assert record.annotations is not None
    ego_SE3_lidar = record.ego_SE3_lidar
    objects = record.annotations.boxes.transformed(ego_SE3_lidar)
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
        sample, record.annotations.boxes, miss.index, in_lidar[outcome.hits], in_lidar[outcome.inventions]
    )
    caption = f"{name}, {points}, {miss.range_m:.0f} m away: {record.scene}, frame {record.index}"
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
