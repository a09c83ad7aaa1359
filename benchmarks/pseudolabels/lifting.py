"""How fast masks and clouds become labels, and what becomes of input that cannot be projected."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.checks import Context, Row, at_most, report_only
from lidarloop_core.bench.lifting import time_lifting
from lidarloop_core.geometry.camera import in_image, project
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting.synthetic_scene import synthetic_scene
from lidarloop_core.labelling.lifting_config import full_lifting, paper_lifting
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.sample import CameraImage, Sample, camera_SE3_lidar

CAMERA = "CAM_FRONT"
ROUNDS, RUNS_A_ROUND = 5, 7
# Lifting finds surfaces, boxes, yaws and sizes besides.
MOST_REFERENCES = 3.0


def check_throughput(context: Context) -> Iterator[Row]:
    """Six cameras of 1600 × 900, three sweeps, in one thread, each run next to one of the reference loop."""
    sample, found = synthetic_scene()
    num_masks = sum(len(masks) for masks in found.values())
    for name, config in (("paper", paper_lifting()), ("full", full_lifting())):
        lifting_ms, reference_ms = [], []
        for _ in range(ROUNDS):  # by turns: what else the machine does meets both
            lifting_ms.append(float(np.median(time_lifting(config, sample, found, num_runs=RUNS_A_ROUND).whole_ms)))
            reference_ms.append(float(np.median([_timed_ms(_reference, sample, found) for _ in range(RUNS_A_ROUND)])))
        what = f"lifting, {name}, six cameras, {num_masks} masks, three sweeps"
        ratio = float(np.median(lifting_ms) / np.median(reference_ms))
        yield at_most(f"{what}: time / the reference loop's", ratio, MOST_REFERENCES)
        yield report_only("  frames a second", 1000 / float(np.median(lifting_ms)))


def _reference(sample: Sample, found: Mapping[str, InstanceMasks]) -> int:
    """What no lifting can do without, in plain NumPy: every point in every picture, and the points in every mask."""
    num_points = 0
    for camera in sample.cameras:
        for sweep in sample.sweeps:
            points = camera_SE3_lidar(camera, sweep).transform(sweep.points[:, :3])
            pixels, depth = project(points, camera.intrinsics)
            pixels = pixels[in_image(pixels, depth, camera.width, camera.height)]
            num_points += sum(int(window.covers(pixels).sum()) for window in found[camera.name].masks)
    return num_points


def _timed_ms(function: Callable[..., Any], *arguments: Any) -> float:
    start_ns = time.perf_counter_ns()
    function(*arguments)
    return (time.perf_counter_ns() - start_ns) / 1e6


def check_bad_input(context: Context) -> Iterator[Row]:
    """One fault after another in a scene that is otherwise sound: left out, counted, and never projected."""
    sample, found = synthetic_scene(num_objects=60)
    whole, _ = _lifted(sample, found)
    masks = found[CAMERA]
    empty = MaskWindow(0, 0, np.zeros((0, 0), np.bool_))
    sky = MaskWindow(0, 0, np.ones((20, 1600), np.bool_))
    faults = {
        "camera without calibration": (_camera(sample, intrinsics=np.zeros((0, 0))), found, "cameras"),
        "zero intrinsics": (_camera(sample, intrinsics=np.zeros((3, 3))), found, "cameras"),
        "picture of another size than the masks": (_camera(sample, width=800, height=450), found, "cameras"),
        "camera without a pose": (_camera(sample, world_SE3_ego=None), found, "cameras"),
        "empty masks": (sample, {**found, CAMERA: _masks(masks, empty)}, "masks"),
        "no points in the masks": (sample, {**found, CAMERA: _masks(masks, sky)}, "masks"),
    }
    for fault, (broken, seen, kind) in faults.items():
        labels, left_out = _lifted(broken, seen)
        counted = sum(getattr(left_out, kind).values())
        from_it = sum(CAMERA in cameras for cameras in labels.cameras)
        holds = counted >= 1 and from_it == 0 < len(labels) < len(whole)
        yield Row(f"{fault}: labels made from that camera", from_it, "0, counted as left out", holds)
    lone = dataclasses.replace(sample, sweeps=sample.sweeps[:1])
    labels, left_out = _lifted(lone, found)
    missing = sum(left_out.sweeps.values())
    yield Row("missing sweeps: counted", missing, "2, and labels made", missing == 2 and len(labels) > 0)


def _lifted(sample: Sample, found: Mapping[str, InstanceMasks]) -> tuple[PseudoLabels, LeftOut]:
    return lift(sample, found, ShapePriors.paper(), full_lifting())


def _camera(sample: Sample, **changes: Any) -> Sample:
    """The sample with one camera changed."""
    cameras: list[CameraImage] = [
        dataclasses.replace(camera, **changes) if camera.name == CAMERA else camera for camera in sample.cameras
    ]
    return dataclasses.replace(sample, cameras=tuple(cameras))


def _masks(masks: InstanceMasks, window: MaskWindow) -> InstanceMasks:
    """Every mask of a picture in the place of its own."""
    return dataclasses.replace(masks, masks=(window,) * len(masks))
