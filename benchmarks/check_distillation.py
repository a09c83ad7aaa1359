"""What distillation from a painted teacher promises, measured: prints a table and writes out/checks/distillation.json.

python -m benchmarks.check_distillation            # exits 1 if a row falls short

The tables' rows come from the stored runs of ``benchmarks.distillation.study`` and
``benchmarks.distillation.fusion_study``; FULL=1 runs what is missing first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tyro

from benchmarks.checks import OUT, REAL_DATA, Context, Row, all_of, lidarloop, run_checks, runs_studies
from benchmarks.distillation.fusion_study import RESULTS as FUSION_RESULTS
from benchmarks.distillation.fusion_study import Study as FusionStudy
from benchmarks.distillation.fusion_study import rows_of_fusion
from benchmarks.distillation.fusion_study import run_study as run_fusion_study
from benchmarks.distillation.painting import check_painting
from benchmarks.distillation.speed import check_speed
from benchmarks.distillation.study import RESULTS, Study, run_study
from benchmarks.distillation.tables import rows_of_tables
from benchmarks.tested import rows_of_tests
from lidarloop_core.geometry.boxes import Boxes3D

TESTED = {
    "equations 1-4, responses": "tests/training/losses/distillation/test_responses.py",
    "equations 5-7, voxels and relations": "tests/training/losses/distillation/test_voxels.py",
    "equations 8-11, points": "tests/training/losses/distillation/test_points.py",
    "equation 8, weights by scipy's distances": "tests/training/tasks/distillation/test_neighbours.py",
    "equation 12, turned grid by brute force": "tests/training/losses/distillation/test_instances.py",
    "equation 13, gradients, 0 for the teacher itself": "tests/training/tasks/distillation/test_task.py",
    "cells of a level": "tests/training/tasks/distillation/test_occupied.py",
    "resumed to the same bits, pseudo-labels as ground truth": "tests/training/stages/test_distill.py",
    "two processes are one": "tests/training/stages/test_distill_two_processes.py",
    "painting: cameras in closed form": "tests/core/labelling/painting/test_paint.py",
    "camera-BEV fusion: the table's closed forms": "tests/core/camera_bev/test_lift_table.py",
    "camera-BEV fusion: lift-splat by brute force": "tests/training/models/fusion/test_camera_bev.py",
    "camera-BEV fusion: a LiDAR run's answers where cameras are dark": "tests/training/models/fusion/test_detector.py",
    "camera-BEV fusion: changed scenes, dark cameras": "tests/training/tasks/fusion/test_task.py",
    "camera-BEV fusion: one file, parity, NVIDIA's parser": "tests/export/test_fusion_graph.py",
    "camera-BEV fusion: pictures over DDS, without them": "tests/ros/detector/test_cameras.py",
    "paints on disk": "tests/training/data/views/test_painted.py",
}


_MOST_APART = 2e-3


def check_tests(_: Context) -> Iterator[Row]:
    """Each file's tests."""
    yield from rows_of_tests(TESTED)


def check_study(_: Context) -> Iterator[Row]:
    """Tables 2-5 and 7, from stored runs."""
    if runs_studies():
        run_study(Study(), RESULTS)
    yield from rows_of_tables()


def check_fusion(_: Context) -> Iterator[Row]:
    """LiDAR alone, cameras alone and both at 5 % of the labels, from stored runs."""
    if runs_studies():
        run_fusion_study(FusionStudy(), FUSION_RESULTS)
    yield from rows_of_fusion()


def check_way(context: Context) -> Iterator[Row]:
    """A few steps by the commands a user types: teacher, student, model file, node; nothing is learnt."""
    from lidarloop_core.io.results import read_results
    from lidarloop_core.model.model_file import read_model
    from lidarloop_training.recipes.voxel_toytown import voxel_smoke

    data = ("--data.root", context.scratch / "data")
    teacher, student, model = (context.scratch / name for name in ("teacher", "student", "model.onnx"))
    bag, out = context.scratch / "drive.mcap", context.scratch / "replay"
    lidarloop("train", "painted-smoke", *data, "--run.out", teacher)
    lidarloop("distill", "distill-smoke", "--teacher", teacher, *data, "--run.out", student)
    lidarloop("export", student, model, "--check-nvidia", "never")
    spec, plain = read_model(model).spec, voxel_smoke().task.spec
    same = sum(getattr(spec, name) == getattr(plain, name) for name in ("grid", "inputs", "output_tensors"))
    yield all_of("distilled student: grid, inputs and outputs of its model file are an ordinary detector's", same, 3)
    lidarloop("convert", "toytown", "902", bag, "--duration-s", "2", "--no-cameras")
    lidarloop("replay", bag, "--model", model, "--out", out, "--pace", "lockstep")
    found, _ = read_results(out / "detections.json")
    num_equal, num_clouds = _equal_offline(found, model, bag)
    yield all_of(
        "distilled student in the node: clouds whose boxes over DDS equal those offline", num_equal, num_clouds
    )


def _equal_offline(found: Mapping[str, Boxes3D], model: Path, bag: Path) -> tuple[int, int]:
    """Clouds of a bag whose replayed boxes are those of the same model without a node, and the number of clouds."""
    from lidarloop_core.inference.onnxruntime_backend import OnnxRuntimeBackend
    from lidarloop_core.model.model_file import read_model
    from lidarloop_training.data.bag.reader import BagSource
    from lidarloop_training.stages.infer import SampleDetector

    detector = SampleDetector(OnnxRuntimeBackend(model, num_threads=1))
    source = BagSource(bag, num_sweeps=read_model(model).spec.num_sweeps, cameras=False)
    num_equal = 0
    for index, key in enumerate(source.keys):
        offline, pose = detector(source[index]), source.pose(index).world_SE3_lidar
        num_equal += _same(offline if pose is None else offline.transformed(pose), found[key.token])
    return num_equal, len(source)


def _same(expected: Boxes3D, found: Boxes3D) -> bool:
    """Whether each box has an equal one on the other side, to the millimetre that a results file keeps."""
    if len(expected) != len(found) or len(expected) == 0:
        return len(expected) == len(found)
    apart = np.abs(expected.values[:, None] - found.values[None]).max(axis=2)
    apart[expected.labels[:, None] != found.labels[None]] = np.inf
    return bool(max(apart.min(axis=0).max(), apart.min(axis=1).max()) < _MOST_APART)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/distillation.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    checks = (check_tests, check_study, check_fusion, check_way, check_speed, check_painting)
    return run_checks("distillation", checks, needing_data=(check_speed, check_painting), data=data, out=out)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
