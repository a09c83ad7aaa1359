"""What the readers, metrics and the viewer promise, measured: prints a table and writes out/checks/data.json.

    python benchmarks/check_data.py                    # exits 1 if a row falls short
    python benchmarks/check_data.py --data /elsewhere

Rows that need real samples are skipped where there are none ($LIDARLOOP_REAL_DATA or ../shared/data). Each check is one
function that yields rows; one that breaks is a row that falls short, and the others still run. All of it takes about a
minute, so everything is measured anew each time.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import metrics
import numpy as np
import numpy.typing as npt
import readers
import tyro
from checks import OUT, REAL_DATA, Context, Row, all_of, as_json, at_least, at_most, run_checks

from lidarloop_core.cli import main as main_command
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.io import atomic
from lidarloop_core.io.overlay import wireframes
from lidarloop_core.io.results import read_results, read_track_ids, write_results
from lidarloop_core.machine import machine
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource
from lidarloop_training.commands.evaluate import evaluate
from lidarloop_training.commands.view import ViewRequest, view
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.convert.bag import convert_to_bag
from lidarloop_training.data.convert.options import ConvertOptions
from lidarloop_training.data.drive_spec import KittiObject, KittiRaw, NuScenesSweep, ToyTown
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.data.kitti.raw import KittiRawSource
from lidarloop_training.data.nuscenes.reader import NuScenesSource
from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from lidarloop_training.data.writing.cvat import read_cvat_export, write_cvat_task
from lidarloop_training.toytown.drive import ToyTownDrive

SEED = 0


# --- the readers on real samples --------------------------------------------------------------------------------------


def samples_read(context: Context) -> Iterator[Row]:
    """Every cloud file of every real sample comes out as a Sample with points and, where there are some, pictures."""
    clouds = {
        "nuscenes_keyframe": ("nuscenes-sweep", "*.bin"),
        "nuscenes_10sweep": ("nuscenes-sweep", "*.bin"),
        "kitti_object_with_images": ("kitti-object", "**/velodyne/*.bin"),
        "kitti_object_labelled": ("kitti-object", "velodyne/*.bin"),
        "kitti_raw_sequence": ("kitti-raw", "velodyne_points/*.bin"),
        "av2/sensor": ("av2", "**/lidar/*.feather"),
        "av2/sensor_dataset_logs": ("av2", "**/lidar/*.feather"),
    }
    for folder, (name, pattern) in clouds.items():
        source = readers.open_named(name, str(context.data / folder), cameras=True)
        samples = [source[i] for i in range(len(source))]
        good = [s for s in samples if len(s.keyframe.points) > 1000 and all(c.load().size for c in s.cameras)]
        yield all_of(f"{folder}: clouds read as samples", len(good), len(list((context.data / folder).glob(pattern))))


def nuscenes_boxes(context: Context) -> Iterator[Row]:
    """The keyframe's boxes hold the number of points that nuScenes annotated: z, yaw and order of sizes are right."""
    (sample,) = [NuScenesSweepSource(context.data / "nuscenes_keyframe", cameras=False)[0]]
    annotated = sample.annotations.num_lidar_pts
    counted = points_in_boxes(sample.keyframe.points, sample.annotations.boxes.values).sum(axis=1)
    share = float((np.abs(counted - annotated) <= 0.1 * annotated).mean())
    yield at_least(f"nuScenes: share of {len(annotated)} boxes with their annotated points ± 10 %", share, 0.97)


def kitti_boxes(context: Context) -> Iterator[Row]:
    """KITTI's boxes, turned from the camera's frame to the Velodyne's, hold points."""
    folders = ("kitti_object_labelled", "kitti_object_with_images")
    counts = np.concatenate(
        [_points_in_objects(KittiObjectSource(context.data / folder, own_classes=True)) for folder in folders]
    )
    yield at_least(f"KITTI: share of {len(counts)} boxes with points", float((counts > 0).mean()), 0.96)


def av2_boxes(context: Context) -> Iterator[Row]:
    """Argoverse's cuboids that are said to hold points do, once poses and the ego frame are right."""
    from lidarloop_training.data.av2.reader import Av2Source

    num_filled = num_said = 0
    for folder in ("av2/sensor", "av2/sensor_dataset_logs"):
        source = Av2Source(context.data / folder, own_classes=True)
        for i in range(len(source)):
            sample = source[i]
            said = sample.annotations.num_lidar_pts > 0
            counted = points_in_boxes(sample.keyframe.points, sample.annotations.boxes.values[said]).sum(axis=1)
            num_said, num_filled = num_said + int(said.sum()), num_filled + int((counted > 0).sum())
    yield all_of("Argoverse 2: cuboids with num_interior_pts > 0 that hold points", num_filled, num_said)


def overlays(context: Context) -> Iterator[Row]:
    """Pictures of the boxes, and how well KITTI's projected boxes match the rectangles that people drew."""
    folder = context.out / "overlays"
    shutil.rmtree(folder, ignore_errors=True)
    view(ViewRequest(NuScenesSweep(context.data / "nuscenes_keyframe"), png=folder / "nuscenes"))
    view(ViewRequest(KittiObject(context.data / "kitti_object_with_images"), png=folder / "kitti"))
    yield all_of("overlays of nuScenes and KITTI written as PNG", len(list(folder.glob("*/*.png"))), 4)
    overlaps = _overlaps_with_labels(KittiObjectSource(context.data / "kitti_object_with_images", own_classes=True))
    yield at_least("KITTI: median overlap of projected boxes and labelled rectangles", float(np.median(overlaps)), 0.75)


def kitti_through_a_bag(context: Context) -> Iterator[Row]:
    """KITTI raw → bag with KISS-ICP's poses → samples: equal points, and the library's own poses."""
    folder, bag = context.data / "kitti_raw_sequence", context.scratch / "kitti.mcap"
    convert_to_bag(KittiRaw(folder), bag, ConvertOptions(ego_motion=True))
    want, got = KittiRawSource(folder), BagSource(bag)
    equal = [np.array_equal(got[i].keyframe.points, want[i].keyframe.points) for i in range(len(want))]
    yield all_of("KITTI raw → bag → samples: clouds with equal points", sum(equal), len(want))
    poses = [got[i].keyframe.world_SE3_ego.translation for i in range(len(want))]
    reference = _kiss_icp_by_itself(want)
    length_m = float(np.linalg.norm(np.diff(reference, axis=0), axis=1).sum())
    off_m = float(np.linalg.norm(np.array(poses) - reference, axis=1).max())
    yield at_most(f"its poses and KISS-ICP's own: largest distance / {length_m:.1f} m of path", off_m / length_m, 0.01)


# --- metrics ----------------------------------------------------------------------------------------------------------


def devkit_agreement(context: Context) -> Iterator[Row]:
    """Our nuScenes numbers and the devkit's, and the time both take."""
    yield at_most(
        "nuScenes metrics: largest difference from the devkit, 200 cases", metrics.largest_difference_of(200), 1e-6
    )
    figures = metrics.measure_speed(200, 200, SEED)
    yield at_most("the same on 200 samples × 200 boxes", figures["largest_difference"], 1e-6)
    yield at_least("devkit's time / ours on 200 samples × 200 boxes", figures["speed_ratio"], 10)


def evaluate_from_files(context: Context) -> Iterator[Row]:
    """`lidarloop evaluate` and the devkit's DetectionEval, both on the same tables and the same results file."""
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    tables, results, out = (context.scratch / name for name in ("tables", "results.json", "out"))
    write_nuscenes(OfMiniVal(8), tables, keyframe_every=1, cameras=False)
    write_results(results, _noisy_detections(NuScenesSource(tables)), {"frame": "world"})
    evaluate(results, tables, out=out)
    ours = json.loads((out / "metrics.json").read_text())
    devkit, config = NuScenes("v1.0-mini", str(tables), verbose=False), config_factory("detection_cvpr_2019")
    theirs, _ = DetectionEval(devkit, config, str(results), "mini_val", str(out / "devkit"), False).evaluate()
    pairs = [(ours["mAP_all_classes"], theirs.mean_ap), (ours["NDS_all_classes"], theirs.nd_score)]
    pairs += zip(ours["errors_all_classes"].values(), theirs.tp_errors.values(), strict=True)
    difference = max(abs(mine - its) for mine, its in pairs)
    yield at_most(f"lidarloop evaluate and DetectionEval on files (mAP {theirs.mean_ap:.3f})", difference, 1e-6)


# --- broken data ------------------------------------------------------------------------------------------------------


def broken_tables(context: Context) -> Iterator[Row]:
    """A missing table, a token that leads nowhere, a cloud of the wrong size: errors that name the file."""
    whole = context.scratch / "tables"
    write_nuscenes(ToyTownDrive(3, duration_s=0.3, cameras=False), whole, keyframe_every=1, cameras=False)
    (version,) = {path.parent.name for path in whole.glob("*/sample.json")}

    def missing_table(root: Path) -> Path:
        path = root / version / "calibrated_sensor.json"
        path.unlink()
        return path

    def wrong_token(root: Path) -> Path:
        referring = root / version / "sample_data.json"
        records = json.loads(referring.read_text())
        records[0]["ego_pose_token"] = "0" * 32
        referring.write_text(json.dumps(records))
        return root / version / "ego_pose.json"  # where it should be

    def wrong_size(root: Path) -> Path:
        path = sorted(root.glob("samples/LIDAR_TOP/*.bin"))[0]
        path.write_bytes(path.read_bytes()[:-3])
        return path

    named = 0
    faults = (missing_table, wrong_token, wrong_size)
    for fault in faults:
        root = context.scratch / fault.__name__
        shutil.copytree(whole, root)
        path = fault(root)
        try:
            NuScenesSource(root)[0]
        except DatasetError as error:
            named += path.name in str(error)
    yield all_of("missing table, wrong token, wrong cloud size: errors that name the file", named, len(faults))


def truncated_recording(context: Context) -> Iterator[Row]:
    """A recording that breaks off: what is whole is read, the rest is counted, and the exit code says so."""
    whole, broken, saved = (context.scratch / name for name in ("whole.mcap", "broken.mcap", "saved.mcap"))
    convert_to_bag(ToyTown(3, duration_s=1.0), whole, ConvertOptions(cameras=False))
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main_command(["convert", "bag", str(broken), str(saved), "--salvage"])
    want, got = BagSource(whole), BagSource(saved)
    equal = [np.array_equal(got[i].keyframe.points, want[i].keyframe.points) for i in range(len(got))]
    lost = re.search(r"(\d+) lost", said.getvalue())
    num_lost = int(lost.group(1)) if lost else 0
    # Clouds lie in the order of time: most of the first six tenths' must be there, whatever is said to be lost.
    yield at_least("MCAP cut at 60 %: frames read back equal", float(sum(equal)), 5)
    yield all_of("frames read back equal and frames reported lost", sum(equal) + num_lost, len(want))
    yield at_least("its exit code, which is 0 where nothing is lost", float(code), 1)


# --- correction by hand -----------------------------------------------------------------------------------------------


def cvat_round_trip(context: Context) -> Iterator[Row]:
    """Results → CVAT's format → results: boxes, labels and tracks."""
    source = ToyTownDrive(3, duration_s=0.3, cameras=False)
    samples = [source[i] for i in range(len(source))]
    boxes = {
        s.token: s.annotations.boxes.transformed(s.keyframe.world_SE3_ego @ s.keyframe.ego_SE3_lidar) for s in samples
    }
    ids = {s.token: s.annotations.instance_ids for s in samples}
    sent, back, task = (context.scratch / name for name in ("sent.json", "back.json", "cvat"))
    write_results(sent, boxes, {"frame": "world"}, track_ids=ids)
    write_cvat_task(sent, source, task)
    read_cvat_export(task / "annotations" / "default.json", task / "task.json", back)
    got, _ = read_results(back)
    tracks = read_track_ids(back)
    equal = [
        got[token].names == want.names
        and np.allclose(got[token].values, want.values, rtol=3e-7, atol=1e-4)
        and tracks[token] == ids[token]
        for token, want in boxes.items()
    ]
    yield all_of("results → CVAT → results: frames with equal boxes, labels and tracks", sum(equal), len(samples))


# --- throughput -------------------------------------------------------------------------------------------------------


def throughput(context: Context) -> Iterator[Row]:
    """Samples per second of each reader; no target but that every one with data at hand is measured."""
    drives = readers.real_drives(context.data) | readers.made_drives(context.scratch / "drives", 10)
    rows = readers.measure(drives, 1.0)
    readers.show(rows)
    atomic.write_bytes(
        context.out / "readers.json", as_json({"machine": machine(), "rows": [asdict(row) for row in rows]})
    )
    yield all_of("readers measured, samples per second in readers.json", len(rows), len(drives))


NEED_REAL_DATA = (samples_read, nuscenes_boxes, kitti_boxes, av2_boxes, overlays, kitti_through_a_bag)
NEED_NOTHING = (devkit_agreement, evaluate_from_files, broken_tables, truncated_recording, cvat_round_trip, throughput)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _points_in_objects(source: SampleSource) -> npt.NDArray[np.int64]:
    samples = [source[i] for i in range(len(source))]
    counts = [points_in_boxes(s.keyframe.points, s.annotations.boxes.values).sum(axis=1) for s in samples]
    return np.concatenate(counts)


def _overlaps_with_labels(source: KittiObjectSource) -> list[float]:
    """Intersection over union of each projected box's outline and the rectangle in its label."""
    overlaps = []
    for i in range(len(source)):
        sample = source[i]
        lines = (source.root / "label_2" / f"{sample.token}.txt").read_text().splitlines()
        labelled = [np.array(line.split()[4:8], float) for line in lines if not line.startswith("DontCare")]
        for frame in wireframes(sample.cameras[0], sample.keyframe, sample.annotations.boxes):
            pixels = frame.edges.reshape(-1, 2)
            overlaps.append(_overlap(np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]), labelled[frame.index]))
    return overlaps


def _overlap(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


@dataclass(frozen=True)
class OfMiniVal:
    """A toy-town drive that goes by the name of a scene that the devkit scores."""

    num_frames: int

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Sample:
        return replace(_drive(self.num_frames)[index], scene="scene-0103")

    @property
    def keys(self) -> list[SampleKey]:
        return [key._replace(drive="scene-0103") for key in _drive(self.num_frames).keys]

    def annotations(self, index: int) -> Annotations:
        return _drive(self.num_frames).annotations(index)

    def pose(self, index: int) -> LidarPose:
        return _drive(self.num_frames).pose(index)


@lru_cache(maxsize=1)
def _drive(num_frames: int) -> ToyTownDrive:
    return ToyTownDrive(7, duration_s=num_frames / 10, cameras=False)


def _noisy_detections(source: SampleSource) -> dict[str, Boxes3D]:
    """Two thirds of the objects, moved and resized a little, with any score."""
    rng = np.random.default_rng(SEED)
    found = {}
    for i in range(len(source)):
        sample = source[i]
        boxes = sample.annotations.boxes.transformed(sample.keyframe.world_SE3_ego @ sample.keyframe.ego_SE3_lidar)
        values = boxes.values + rng.normal(0, (0.4, 0.4, 0.2, 0, 0, 0, 0.2, 0.5, 0.5), boxes.values.shape)
        values[:, 3:6] *= rng.uniform(0.8, 1.2, (len(boxes), 3))
        values[:, 7:9] = np.nan_to_num(values[:, 7:9])
        noisy = Boxes3D(values, rng.random(len(boxes)), boxes.labels, boxes.class_names)
        found[sample.token] = noisy[rng.random(len(boxes)) < 2 / 3]
    return found


def _kiss_icp_by_itself(source: SampleSource) -> npt.NDArray[np.float64]:
    """(N, 3) ego positions from the library, called as its own pipeline calls it."""
    from kiss_icp.config import load_config
    from kiss_icp.kiss_icp import KissICP

    odometry = KissICP(load_config(None))
    positions = []
    for i in range(len(source)):
        keyframe = source[i].keyframe
        odometry.register_frame(keyframe.points[:, :3].astype(np.float64), np.empty(0))
        ego_SE3_lidar = keyframe.ego_SE3_lidar.matrix
        positions.append((ego_SE3_lidar @ odometry.last_pose @ np.linalg.inv(ego_SE3_lidar))[:3, 3])
    return np.array(positions)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/data.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    return run_checks(
        "data", (*NEED_REAL_DATA, *NEED_NOTHING), needing_data=NEED_REAL_DATA, data=data, out=out, seed=SEED
    )


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
