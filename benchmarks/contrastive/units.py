"""Contrastive units on real clouds: ground, instances, pictures, and the time of each stage.

python -m benchmarks.contrastive.units    # prints the rows and writes out/checks/units.json and out/checks/units/
"""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tyro

from benchmarks.checks import NO_DATA, OUT, REAL_DATA, Context, Row, all_of, at_least, at_most, report_only, run_checks
from benchmarks.contrastive.pandaset import GROUND_CLASSES, read_samples
from benchmarks.contrastive.real_streets import (
    GROUND_WITHIN_M,
    KEPT_ABOVE_M,
    MAX_RANGE_M,
    MIN_POINTS,
    InstanceCount,
    count_ground,
    count_instances,
)
from benchmarks.samples import each
from benchmarks.tested import rows_of_tests
from lidarloop_core.labelling.points.own_vehicle import off_own_vehicle
from lidarloop_core.sample import Sample
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource
from lidarloop_training.tasks.pretext.units.clusters import ClusterConfig, find_clusters
from lidarloop_training.tasks.pretext.units.context import nearest_points, points_of_pillars
from lidarloop_training.tasks.pretext.units.ground import GroundConfig, find_ground
from lidarloop_training.tasks.pretext.units.sampling import farthest_points
from lidarloop_training.tasks.pretext.units.sightings import find_sightings
from lidarloop_training.tasks.pretext.units.units import UnitConfig, find_units, merge_seeds
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.viewer.frames import ShownFrame
from lidarloop_training.viewer.sheet import draw_sheet
from lidarloop_training.viewer.unit_colors import unit_colors

FOLDER = "tests/training/tasks/pretext/units"
TESTED = {
    "ground: tilted planes, steps, roofs, reflections": f"{FOLDER}/test_ground.py",
    "farthest points: order by brute force": f"{FOLDER}/test_sampling.py",
    "context: nearest points and pillars by brute force": f"{FOLDER}/test_context.py",
    "clusters: links by brute force, size and aspect": f"{FOLDER}/test_clusters.py",
    "units: seeds of one cluster merged": f"{FOLDER}/test_units.py",
    "sightings: overlapping cameras": f"{FOLDER}/test_sightings.py",
    "pooling of point and image features": f"{FOLDER}/test_pooling.py",
}
EVERY = 6
"""Every so many-th of PandaSet's samples: 1.2 s apart."""

TOWNS = (7, 1000, 1001)
"""Seeds of toy-town drives."""

REPEATS = 15
CHANNELS = 64


def rows(context: Context) -> Iterator[Row]:
    """All rows. Those on real streets need real samples, and are skipped without."""
    yield from rows_of_tests(TESTED)
    if not (context.data / "streets").is_dir():
        yield Row("units on real streets", None, "", None, NO_DATA)
        return
    keyframe = NuScenesSweepSource(context.data / "nuscenes_keyframe")[0]
    street = _pandaset(context)
    kitti = list(each(KittiObjectSource(context.data / "kitti_object_with_images")))
    for name, samples in (
        ("nuScenes keyframe", [keyframe]),
        (f"PandaSet 002, {len(street)} samples", street),
        (f"KITTI, {len(kitti)} frames", kitti),
    ):
        yield from _ground_rows(name, samples)
        yield from _instance_rows(name, samples)
    yield from _point_class_rows(street)
    town = [ToyTownDrive(seed, duration_s=0.2)[1] for seed in TOWNS]
    yield from _town_rows(town)
    yield from _pictures(context.out / "units", {"nuscenes": [keyframe], "pandaset": street[:2], "kitti": kitti[:1]})
    yield from _stages(keyframe)


def _pandaset(context: Context) -> list[Sample]:
    streets = context.data / "streets"
    command = [sys.executable, str(streets / "unpack.py"), str(context.scratch), "--only", "pandaset_002"]
    subprocess.run(command, check=True, capture_output=True)
    return list(read_samples(context.scratch / "pandaset_002", EVERY))


def _ground_rows(name: str, samples: Sequence[Sample]) -> Iterator[Row]:
    max_range_m = UnitConfig().max_range_m
    count = count_ground(samples, GroundConfig(), max_range_m)
    kept, removed = count.num_high_kept / count.num_high, count.num_low_removed / count.num_low
    yield at_least(
        f"{name}: share kept of {count.num_high} points in boxes, above {KEPT_ABOVE_M:g} m of the bottom", kept, 0.95
    )
    yield at_least(
        f"{name}: share removed of {count.num_low} points outside, within {GROUND_WITHIN_M:g} m of the ground",
        removed,
        0.80,
    )
    if importlib.util.find_spec("pypatchworkpp") is None:
        yield Row("  the same by Patchwork++", None, "", None, "skipped: pypatchworkpp is not installed")
        return
    other = count_ground(samples, GroundConfig(method="patchwork"), max_range_m)
    yield report_only("  kept by Patchwork++", other.num_high_kept / other.num_high)
    yield report_only("  removed by Patchwork++", other.num_low_removed / other.num_low)


def _instance_rows(name: str, samples: Sequence[Sample]) -> Iterator[Row]:
    count = count_instances(samples, UnitConfig())
    what = f"cars and pedestrians with ≥ {MIN_POINTS} seen points within {MAX_RANGE_M:g} m"
    yield at_least(f"{name}: share of {count.num_objects} {what} that are one unit", _share_one(count), 0.70)
    spanning = count.num_spanning / max(count.num_merged, 1)
    yield at_most(f"{name}: share of {count.num_merged} merged units that span two labelled objects", spanning, 0.10)
    on_objects = count.num_spanning / max(count.num_on_objects, 1)
    yield report_only(f"  of the {count.num_on_objects} that hold points of a labelled object", on_objects)
    yield report_only("  units in a sample", count.num_units / len(samples))
    for others, config in (
        ("nodes from the range image's pixels", UnitConfig(clusters=ClusterConfig(nodes="pixels"))),
        ("random points for farthest ones", UnitConfig(sampling="random")),
    ):
        yield report_only(f"  one unit with {others}", _share_one(count_instances(samples, config)))


def _share_one(count: InstanceCount) -> float:
    return count.num_one / max(count.num_objects, 1)


def _town_rows(town: Sequence[Sample]) -> Iterator[Row]:
    """The toy town, where the study is run: figures beside those of real streets."""
    ground = count_ground(town, GroundConfig(), UnitConfig().max_range_m)
    instances = count_instances(town, UnitConfig())
    at = f"toy town, {len(town)} samples"
    yield report_only(f"{at}: share kept of points in boxes", ground.num_high_kept / ground.num_high)
    yield report_only(f"{at}: share removed of points of the ground", ground.num_low_removed / ground.num_low)
    yield report_only(f"{at}: share of {instances.num_objects} objects that are one unit", _share_one(instances))
    spanning = instances.num_spanning / max(instances.num_merged, 1)
    yield report_only(f"{at}: share of {instances.num_merged} merged units that span two objects", spanning)


def _point_class_rows(street: Sequence[Sample]) -> Iterator[Row]:
    """Ground removal against PandaSet's classes of points, which do not rest on any estimate of the ground's height."""
    removed = {True: 0, False: 0}
    total = {True: 0, False: 0}
    for sample in street:
        points = sample.keyframe.points
        near = np.hypot(points[:, 0], points[:, 1]) <= UnitConfig().max_range_m
        is_ground, is_object = find_ground(points, GroundConfig()), points[:, 4] > max(GROUND_CLASSES)
        for kind, of_kind in ((True, np.isin(points[:, 4], GROUND_CLASSES)), (False, is_object)):
            total[kind] += int((near & of_kind).sum())
            removed[kind] += int((near & of_kind & is_ground).sum())
    yield report_only("PandaSet: share removed of points whose class is ground", removed[True] / total[True])
    yield report_only(
        "PandaSet: share removed of points of objects, signs and buildings", removed[False] / total[False]
    )


def _pictures(folder: Path, samples: dict[str, Sequence[Sample]]) -> Iterator[Row]:
    """Sheets of units in the cloud and in every camera, with the labelled boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, of_drive in samples.items():
        for index, sample in enumerate(of_drive):
            shown = ShownFrame(index, sample, sample.annotations.boxes if sample.annotations else None, None)
            path = folder / f"{name}-{sample.token}.png"
            draw_sheet(shown, range_m=UnitConfig().max_range_m, colors=unit_colors(sample)).save(path)
            written += path.stat().st_size > 0
    yield all_of(f"pictures of units in cloud and images, in {folder}", written, sum(map(len, samples.values())))


def _stages(keyframe: Sample) -> Iterator[Row]:
    """CPU time of one thread for each stage, the best of several, and of all of them together."""
    import torch

    from lidarloop_training.tasks.pretext.units.pooling import pool, pool_images

    torch.set_num_threads(1)
    config, points = UnitConfig(), keyframe.keyframe.points
    xyz = np.ascontiguousarray(points[:, :3])
    sightings = find_sightings(points, keyframe.cameras, keyframe.keyframe)
    near = off_own_vehicle(xyz) & (np.hypot(xyz[:, 0], xyz[:, 1]) <= config.max_range_m)
    standing = xyz[near & ~find_ground(xyz, config.ground)]
    seeds = farthest_points(standing[:, :2], config.num_seeds)
    context = nearest_points(standing, seeds, config.num_neighbours)
    assert config.clusters is not None
    clusters, instances = config.clusters, find_clusters(standing, config.clusters)
    units = find_units(points, sightings, config, np.random.default_rng(0))
    unit_of_point = torch.from_numpy(units.unit_of_point)
    features, maps = torch.zeros(len(points), CHANNELS), [torch.zeros(CHANNELS, 112, 200) for _ in keyframe.cameras]
    stages: dict[str, Callable[[], object]] = {
        "sightings": lambda: find_sightings(points, keyframe.cameras, keyframe.keyframe),
        "ground": lambda: find_ground(xyz, config.ground),
        "clusters": lambda: find_clusters(standing, clusters),
        "  clusters from pixels of the range image": lambda: find_clusters(
            standing, dataclasses.replace(clusters, nodes="pixels")
        ),
        f"{config.num_seeds} farthest points": lambda: farthest_points(standing[:, :2], config.num_seeds),
        f"context of {config.num_neighbours} neighbours": lambda: nearest_points(
            standing, seeds, config.num_neighbours
        ),
        "  context by pillar": lambda: points_of_pillars(standing, seeds, config.pillar_m),
        "merging": lambda: merge_seeds(context, seeds, instances),
        "units: all but sightings": lambda: find_units(points, sightings, config, np.random.default_rng(0)),
        f"pooling of {CHANNELS} point features": lambda: pool(features, unit_of_point, units.num_units),
        f"pooling of {CHANNELS} image features": lambda: pool_images(maps, sightings, unit_of_point, units.num_units),
    }
    yield report_only("stages: points of the cloud", len(points))
    yield report_only("stages: cameras", len(keyframe.cameras))
    yield report_only("stages: points that stand on the ground", len(standing))
    for name, stage in stages.items():
        yield report_only(f"stages, one core: {name}, ms", _best_ms(stage))


def _best_ms(what: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.thread_time()
        what()
        times.append(1e3 * (time.thread_time() - start))
    return min(times)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/units.json and pictures to OUT/units; the exit code is 1 if a row falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    return run_checks("units", (rows,), data=data, out=out)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
