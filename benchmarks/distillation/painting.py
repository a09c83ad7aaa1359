"""Painting on real photographs: do the points of labelled cars get the paint of cars?

A wrong calibration paints what is beside a car. So the same is counted with every camera turned by a few degrees: the
share has to fall, and more the more it is turned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.checks import Context, Row, at_least, at_most, report_only
from benchmarks.samples import labels_of
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.mask_models.onnx_mask_model import open_onnx_mask_model
from lidarloop_core.labelling.painting.paint import MIN_DEPTH_M, paint
from lidarloop_core.labelling.painting.score_model import MaskScoreModel, PictureScores, ScoreModel
from lidarloop_core.labelling.painting.semantic_model import open_semantic_model
from lidarloop_core.labelling.points.frustum import view
from lidarloop_core.sample import CameraImage, Sample, SampleSource
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource

TURNED_DEG = 5.0
LEAST_PAINTED = 0.6
LEAST_SCORE = 0.05
MIN_POINTS = 5
GROWN_M = 1.0
"""A point is on no vehicle if it is farther than this from all labelled ones."""

_TINT = np.array([255, 93, 143])
_GREY = np.array([120, 200, 255])


@dataclass(frozen=True)
class Painted:
    """A sample's keyframe, painted.

    Attributes:
        sample: the labelled sample.
        paint: (N, 1 + K) of its points.
        is_car: (N,) bool, whether the car's score is the largest of all classes, and above ``LEAST_SCORE``.
    """

    sample: Sample
    paint: npt.NDArray[np.float32]
    is_car: npt.NDArray[np.bool_]


def painted(sample: Sample, model: ScoreModel, scores: Sequence[PictureScores]) -> Painted:
    """Paints a keyframe by what a network gave for its pictures."""
    found = paint(sample.keyframe, sample.cameras, scores, len(model.class_names))
    car = found[:, 1 + model.class_names.index("car")]
    return Painted(sample, found, (car > LEAST_SCORE) & (car >= found[:, 1:].max(axis=1)))


def shares(of: Sequence[Painted]) -> tuple[float, float, int]:
    """Share of seen points in labelled cars that are painted car, and of those off all vehicles; cars counted."""
    on_car, off, num_cars = [], [], 0
    for each in of:
        boxes = labels_of(each.sample).boxes
        points, seen = each.sample.keyframe.points, each.paint[:, 0] > 0
        names = np.array(boxes.names)
        inside = points_in_boxes(points, boxes.values[names == "car"]) & seen
        counted = inside.sum(axis=1) >= MIN_POINTS
        num_cars += int(counted.sum())
        on_car.append(each.is_car[inside[counted].any(axis=0)])
        grown = boxes.values.copy()
        grown[:, 3:6] += 2 * GROWN_M
        off.append(each.is_car[seen & ~points_in_boxes(points, grown).any(axis=0)])
    return float(np.concatenate(on_car).mean()), float(np.concatenate(off).mean()), num_cars


def turned(sample: Sample, degrees: float) -> Sample:
    """The sample with every camera's mounting turned about its vertical axis."""
    turn = SE3.from_yaw(np.radians(degrees), (0.0, 0.0, 0.0))

    def wrong(camera: CameraImage) -> CameraImage:
        place = SE3(np.eye(3), camera.ego_SE3_camera.translation)
        around = place @ turn @ place.inverse()
        return dataclasses.replace(camera, ego_SE3_camera=around @ camera.ego_SE3_camera)

    return dataclasses.replace(sample, cameras=tuple(wrong(camera) for camera in sample.cameras))


def check_painting(context: Context) -> Iterator[Row]:
    """nuScenes' keyframe and three frames of KITTI, with both kinds of networks, and pictures of it."""
    folder = context.data / "models2d"
    semantic = open_semantic_model(folder / "espnetv2_s2_city_512x1024.onnx")
    masks = open_onnx_mask_model(folder / "yolox_nano_bigisland.onnx", folder / "espnetv2_s2_city_512x1024.onnx")
    models: dict[str, ScoreModel] = {"semantic probabilities": semantic, "instance masks": MaskScoreModel(masks)}
    sources: dict[str, SampleSource] = {
        "nuScenes keyframe": NuScenesSweepSource(context.data / "nuscenes_keyframe"),
        "KITTI 000000-000002": KittiObjectSource(context.data / "kitti_object_with_images"),
    }
    for place, source in sources.items():
        samples = [source[i] for i in range(len(source))]
        for kind, model in models.items():
            yield from _rows(f"{place}, {kind}", samples, model, context.out / "painting")


def _rows(at: str, samples: Sequence[Sample], model: ScoreModel, out: Path) -> Iterator[Row]:
    scores = [model.score(sample.token, sample.cameras) for sample in samples]
    right = [painted(sample, model, found) for sample, found in zip(samples, scores, strict=True)]
    on_car, off, num_cars = shares(right)
    yield at_least(f"{at}: share of {num_cars} labelled cars' points that are painted car", on_car, LEAST_PAINTED)
    yield at_most(f"{at}: share of the points off all labelled objects that are", off, 0.05)
    for degrees in (TURNED_DEG, -TURNED_DEG):
        wrong = [painted(turned(s, degrees), model, found) for s, found in zip(samples, scores, strict=True)]
        fallen, _, _ = shares(wrong)
        what = f"{at}: that share with cameras turned by {degrees:g}° / with the right calibration"
        yield at_most(what, fallen / max(on_car, 1e-9), 0.8)
    yield report_only(f"{at}: pictures with their points, in {out}", _draw(at, right, out))


def _draw(at: str, of: Sequence[Painted], out: Path) -> int:
    """Writes each picture with the points that fall on it, those painted car in a colour of their own; how many."""
    out.mkdir(parents=True, exist_ok=True)
    num_pictures = 0
    for each in of:
        for camera in each.sample.cameras:
            picture = camera.load().copy()
            seen = view(each.sample.keyframe.points[:, :3], camera, each.sample.keyframe, MIN_DEPTH_M)
            for (u, v), is_car in zip(np.round(seen.pixels).astype(int), each.is_car[seen.index], strict=True):
                picture[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2] = _TINT if is_car else _GREY
            path = out / f"{at.replace(' ', '-').replace(',', '')}-{each.sample.token}-{camera.name}.jpg"
            Image.fromarray(picture).save(path, quality=85)
            num_pictures += 1
    return num_pictures
