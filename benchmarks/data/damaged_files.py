"""Damaged data is refused by name or salvaged in part; corrections by hand come back unchanged."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from benchmarks.checks import Context, Row, all_of, at_least, lidarloop
from benchmarks.samples import boxes_in_world, each, labels_of
from lidarloop_core.cli import main as main_command
from lidarloop_core.errors import DatasetError
from lidarloop_core.io.results import read_results, read_track_ids, write_results
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.nuscenes.reader import NuScenesSource
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from lidarloop_training.data.writing.cvat import read_cvat_export, write_cvat_task
from lidarloop_training.toytown.drive import ToyTownDrive


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
    """A recording that breaks off: complete frames are read, the rest is counted, and the exit code is not 0."""
    whole, broken, saved = (context.scratch / name for name in ("whole.mcap", "broken.mcap", "saved.mcap"))
    lidarloop("convert", "toytown", "3", whole, "--duration-s", "1.0", "--no-cameras", "--num-workers", "0")
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = main_command(["convert", "bag", str(broken), str(saved), "--salvage"])
    want, got = BagSource(whole), BagSource(saved)
    equal = [np.array_equal(got[i].keyframe.points, want[i].keyframe.points) for i in range(len(got))]
    lost = re.search(r"(\d+) lost", printed.getvalue())
    num_lost = int(lost.group(1)) if lost else 0
    # Clouds lie in the order of time: most of the first six tenths' must be there, whatever is reported lost.
    yield at_least("MCAP cut at 60 %: frames read back equal", float(sum(equal)), 5)
    yield all_of("frames read back equal and frames reported lost", sum(equal) + num_lost, len(want))
    yield at_least("its exit code, which is 0 where nothing is lost", float(code), 1)


def cvat_round_trip(context: Context) -> Iterator[Row]:
    """Results → CVAT's format → results: boxes, labels and tracks."""
    source = ToyTownDrive(3, duration_s=0.3, cameras=False)
    samples = list(each(source))
    boxes = {sample.token: boxes_in_world(sample) for sample in samples}
    ids = {sample.token: labels_of(sample).instance_ids for sample in samples}
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
