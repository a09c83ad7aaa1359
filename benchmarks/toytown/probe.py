"""What tells the classes apart in the toy town, the cloud or the pictures: two nearest-neighbour probes.

    python -m benchmarks.toytown.probe                # both styles of the town; a few minutes on one core

An object is an actor, or something of an actor's size along the street, with at least six LiDAR points that one camera
sees. The LiDAR probe knows nine statistics of those points, the image probe the colours at their pixels: what a unit of
contrastive pre-training pools on either side. Both look up the nearest objects of other drives. Balanced accuracy is
the mean of the recalls: over the ten classes and the background, and over object and background alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro
from matplotlib.colors import rgb_to_hsv
from scipy.spatial import cKDTree

from benchmarks.checks import REPOSITORY, Context, Row, as_json, at_least, at_most, commit, report_only, runs_studies
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.geometry.camera import in_image, project
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import atomic
from lidarloop_core.machine import machine, versions
from lidarloop_training.toytown.camera import CAMERAS, HEIGHT, WIDTH, Camera
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.lidar import compensated
from lidarloop_training.toytown.lidar_styles import HDL32E
from lidarloop_training.toytown.streets.point_classes import MANMADE, VEGETATION
from lidarloop_training.toytown.streets.scenery import Thing
from lidarloop_training.toytown.style import TownStyle
from lidarloop_training.workers import worker_pool

FloatArray = npt.NDArray[np.float64]

RESULTS = REPOSITORY / "results/toytown_looks.json"
BACKGROUND = len(NUSCENES_CLASSES)
STYLES: tuple[TownStyle, ...] = ("plain", "lookalikes")

_LARGEST_M = (13.0, 3.5, 4.2)
"""Length, width, height: what is larger is a house or a tree, not an object."""
_RANGE_M = 40.0
_LEAST_POINTS = 6
_GREY_SATURATION = 0.2
_HUES, _GREYS = 8, 4
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Objects:
    """Objects of some drives.

    Attributes:
        label: (N,) int64 index into ``NUSCENES_CLASSES``, or ``BACKGROUND``.
        statistics: (N, 9) float64 of the LiDAR points; see ``point_statistics``.
        colours: (N, 40) float64 of the picture; see ``pixel_colours``.
    """

    label: npt.NDArray[np.int64]
    statistics: FloatArray
    colours: FloatArray

    @staticmethod
    def joined(parts: list[Objects]) -> Objects:
        return Objects(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


# --- objects ----------------------------------------------------------------------------------------------------------


def point_statistics(points: FloatArray) -> FloatArray:
    """(9,) of an object's points (N, 4) x y z intensity, metres, LiDAR frame.

    Range, logarithm of the number of points, length and width along the principal axes seen from above, height,
    lowest z, deviation of z; mean and deviation of the intensity.
    """
    xyz, intensity = points[:, :3], points[:, 3]
    flat = xyz[:, :2] - xyz[:, :2].mean(axis=0)
    along = flat @ np.linalg.svd(flat, full_matrices=False)[2].T
    range_m = np.linalg.norm(xyz[:, :2].mean(axis=0))
    return np.array(
        [
            range_m,
            np.log(len(points)),
            *np.ptp(along, axis=0),
            np.ptp(xyz[:, 2]),
            xyz[:, 2].min(),
            xyz[:, 2].std(),
            intensity.mean(),
            intensity.std(),
        ]
    )


def pixel_colours(picture: npt.NDArray[np.uint8], pixels: npt.NDArray[np.int64]) -> FloatArray:
    """(40,) colours round an object's pixels (N, 2) as (u, v), 3 × 3 to each: of its upper and of its lower half."""
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    column, row = pixels.T
    steps = [(dy, dx) for dy in range(3) for dx in range(3)]
    around = np.stack([padded[row + dy, column + dx] for dy, dx in steps], axis=1)
    is_upper = row <= np.median(row)
    halves = (around[is_upper], around[~is_upper] if not is_upper.all() else around)
    return np.concatenate([colour_histogram(half.reshape(-1, 3)) for half in halves])


def colour_histogram(colours: npt.NDArray[np.uint8]) -> FloatArray:
    """(20,) square roots of the shares of colours (N, 3): eight hues, dark and light, and four greys.

    Distances between such histograms are Hellinger's.
    """
    hue, saturation, value = rgb_to_hsv(colours / 255).T
    hue_bin = np.minimum((hue * _HUES).astype(np.int64), _HUES - 1) * 2 + (value > 0.5)
    grey_bin = 2 * _HUES + np.minimum((value * _GREYS).astype(np.int64), _GREYS - 1)
    counts = np.bincount(np.where(saturation < _GREY_SATURATION, grey_bin, hue_bin), minlength=2 * _HUES + _GREYS)
    shares: FloatArray = np.sqrt(counts / counts.sum())
    return shares


def objects_of(seed: int, style: TownStyle, every: int) -> Objects:
    """The objects of a drive, in each ``every``-th of its samples."""
    drive = ToyTownDrive(seed, style=style)
    found = [row for index in range(0, len(drive), every) for row in _objects_of_sample(drive, index)]
    labels, statistics, colours = zip(*found, strict=True)
    return Objects(np.array(labels), np.array(statistics), np.array(colours))


def _objects_of_sample(drive: ToyTownDrive, index: int) -> Iterator[tuple[int, FloatArray, FloatArray]]:
    scan, town = drive.scan(index), drive.town
    points = compensated(scan, town, drive.time_s(index), 1 / drive.rate_hz).astype(np.float64)
    world_SE3_lidar = town.world_SE3_ego(drive.time_s(index)) @ HDL32E.ego_SE3_lidar
    members = [(town.actors[i].label, np.flatnonzero(scan.actor == i)) for i in np.unique(scan.actor[scan.actor >= 0])]
    still = np.flatnonzero(np.isin(scan.label, (MANMADE, VEGETATION)))
    cuboids = _cuboids(town.things, world_SE3_lidar)
    members += [(BACKGROUND, still[inside]) for inside in points_in_boxes(points[still], cuboids)]
    for label, mine in members:
        if len(mine) < _LEAST_POINTS:
            continue
        own = points[mine, :4]
        if np.linalg.norm(own[:, :2].mean(axis=0)) > _RANGE_M:
            continue
        pixels, camera = max((_seen(camera, own[:, :3]) for camera in CAMERAS), key=lambda seen: len(seen[0]))
        if len(pixels) >= _LEAST_POINTS:
            picture = drive.picture(index, camera.name).rgb
            yield label, point_statistics(own), pixel_colours(picture, np.rint(pixels).astype(np.int64))


def _cuboids(things: tuple[Thing, ...], world_SE3_lidar: SE3) -> FloatArray:
    """(M, 7) cuboids of the things no larger than an object, a little wider for the range noise, LiDAR frame."""
    cuboids: FloatArray = np.array([thing.cuboid for thing in things])
    length, width = cuboids[:, 3:5].max(axis=1), cuboids[:, 3:5].min(axis=1)
    cuboids = cuboids[(np.column_stack([length, width, cuboids[:, 5]]) <= _LARGEST_M).all(axis=1)]
    lidar_SE3_world = world_SE3_lidar.inverse()
    cuboids[:, :3] = lidar_SE3_world.transform(cuboids[:, :3])
    cuboids[:, 3:6] += 0.1
    cuboids[:, 6] = lidar_SE3_world.rotate_yaws(cuboids[:, 6])
    return cuboids


def _seen(camera: Camera, points: FloatArray) -> tuple[FloatArray, Camera]:
    """(K, 2) pixels of the points that fall on the picture."""
    camera_SE3_lidar = camera.ego_SE3_camera.inverse() @ HDL32E.ego_SE3_lidar
    pixels, depth = project(camera_SE3_lidar.transform(points), camera.intrinsics)
    return pixels[in_image(pixels, depth, WIDTH, HEIGHT)], camera


# --- probes -----------------------------------------------------------------------------------------------------------


def nearest_neighbours(known: FloatArray, labels: npt.NDArray[np.int64], asked: FloatArray) -> npt.NDArray[np.int64]:
    """(M,) labels of asked features (M, D): votes of the nearest of known features (K, D) with labels (K,).

    The more members a class has, the less each of their votes counts.
    """
    classes, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    _, nearest = cKDTree(known).query(asked, k=_NEIGHBOURS)
    votes = np.zeros((len(asked), len(classes)))
    np.add.at(votes, (np.arange(len(asked))[:, None], place[nearest]), 1 / np.sqrt(counts[place[nearest]]))
    chosen: npt.NDArray[np.int64] = classes[votes.argmax(axis=1)]
    return chosen


def balanced_accuracy(answers: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Mean over the classes of the share that is answered right: answers and truth (N,) labels."""
    return float(np.mean([(answers[truth == label] == label).mean() for label in np.unique(truth)]))


def probe(known: Objects, asked: Objects) -> dict[str, float]:
    """Balanced accuracies of both probes, over the classes and over object and background."""
    mean, deviation = known.statistics.mean(axis=0), known.statistics.std(axis=0)
    ways = {
        "LiDAR": ((known.statistics - mean) / deviation, (asked.statistics - mean) / deviation),
        "image": (known.colours, asked.colours),
    }
    result: dict[str, float] = {}
    for name, (reference, question) in ways.items():
        result[f"{name}, classes"] = balanced_accuracy(
            nearest_neighbours(reference, known.label, question), asked.label
        )
        is_object, truth = known.label != BACKGROUND, asked.label != BACKGROUND
        answers = nearest_neighbours(reference, is_object.astype(np.int64), question)
        result[f"{name}, object or not"] = balanced_accuracy(answers, truth.astype(np.int64))
    return result


# --- the study --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """Which drives.

    Attributes:
        first_seed: seed of the first drive of the reference; the others count upwards, then come those that are asked.
        num_known: number of drives of the reference.
        num_asked: number of drives that are asked about.
        every: frames at 10 Hz from one sample to the next.
    """

    first_seed: int = 6100
    num_known: int = 12
    num_asked: int = 8
    every: int = 25


def run(study: Study, style: TownStyle, num_processes: int) -> dict[str, Any]:
    """Balanced accuracies and numbers of objects in one style of the town."""
    seeds = range(study.first_seed, study.first_seed + study.num_known + study.num_asked)
    with worker_pool(num_processes) as pool:
        jobs = {pool.submit(objects_of, seed, style, study.every): seed for seed in seeds}
        drives = {jobs[job]: job.result() for job in as_completed(jobs)}
    known = Objects.joined([drives[seed] for seed in seeds[: study.num_known]])
    asked = Objects.joined([drives[seed] for seed in seeds[study.num_known :]])
    names = (*NUSCENES_CLASSES, "background")
    counts = np.bincount(known.label, minlength=len(names)).tolist()
    return {
        "style": style,
        "balanced accuracy": probe(known, asked),
        "num_known": dict(zip(names, counts, strict=True)),
        "num_asked": len(asked.label),
    }


def check_looks(_: Context) -> Iterator[Row]:
    """Looks tell the classes apart where the cloud does not; today's town beside it."""
    study = Study() if runs_studies() else Study(num_known=3, num_asked=2, every=40)
    for style in STYLES:
        for what, value in _stored(style)["balanced accuracy"].items():
            yield report_only(f"{style}: balanced accuracy of the {what}", value)
    stored = _stored("lookalikes")["balanced accuracy"]
    for what in ("classes", "object or not"):
        yield at_least(
            f"lookalikes: points by which images win, {what}",
            100 * (stored[f"image, {what}"] - stored[f"LiDAR, {what}"]),
            20.0,
        )
    yield at_most("lookalikes: balanced accuracy of the LiDAR, object or not", stored["LiDAR, object or not"], 0.7)
    live = run(study, "lookalikes", 1)["balanced accuracy"]
    gain = 100 * (live["image, object or not"] - live["LiDAR, object or not"])
    yield at_least("live: points by which images win, object or not", gain, 10.0)


def _stored(style: TownStyle) -> dict[str, Any]:
    rows = json.loads(RESULTS.read_bytes())["styles"]
    (row,) = (row for row in rows if row["style"] == style)
    return dict(row)


def main(study: Study = Study(), num_processes: int = 1, out: Path = RESULTS) -> int:
    """Runs both styles, prints the balanced accuracies and writes OUT.

    Args:
        study: which drives.
        num_processes: number of processes that render.
        out: the JSON file.
    """
    rows = []
    for style in STYLES:
        rows.append(run(study, style, num_processes))
        for what, value in rows[-1]["balanced accuracy"].items():
            print(f"{style:12} {what:24} {100 * value:5.1f} %", flush=True)
        print(rows[-1]["num_known"])
    document = {
        "command": sys.argv,
        "study": asdict(study),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "styles": rows,
    }
    atomic.write_bytes(out, as_json(document))
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
