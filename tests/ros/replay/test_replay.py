"""`lidarloop replay` end to end on a small bag: the command and the node, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.cli import main
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.bag import BagWriter, message_type
from lidarloop_core.io.messages import cloud_message, odometry_message, transforms_message
from lidarloop_core.io.results import read_results
from lidarloop_core.io.salvage import salvage
from lidarloop_core.model.model_file import read_model, write_model
from lidarloop_ros.detector.outputs import STAGES
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
CLASS_NAMES = ("car", "pedestrian", "barrier")
BASE_SE3_LIDAR = SE3.from_yaw(0.0, (0.9, 0.0, 1.8))
WORLD_POINT = np.array([[12.0, 3.0, 1.0]])


def odom_SE3_base(i: int) -> SE3:
    return SE3.from_yaw(0.02 * i, (0.5 * i, 0.1 * i, 0.0))


def write_bag(
    path: Path,
    num_clouds: int,
    *,
    num_odometry: int = 1000,
    columns: tuple[str, ...] = ("intensity",),
    slashes: bool = False,
    mounted_on: str = "/tf_static",
) -> Path:
    """A LiDAR that drives by one point that stands still in the world.

    Args:
        num_odometry: after so many clouds odometry falls silent.
        columns: names of the points' columns beside x y z.
        slashes: whether frames are named as in ROS 1, some of them at least.
        mounted_on: topic of the mounting pose; "" for odometry of the LiDAR itself, without any transform.
    """
    slash = "/" if slashes else ""
    with BagWriter(path) as bag:
        mounting = transforms_message([("base_link", "lidar_top", BASE_SE3_LIDAR)], T0, message_type)
        if mounted_on == "/tf_static":
            bag.write("/tf_static", T0, mounting)
        for i in range(num_clouds):
            stamp = T0 + i * 100 * MS
            if mounted_on == "/tf":
                for k in range(4):
                    bag.write("/tf", stamp - k * 20 * MS, mounting)
            if i < num_odometry:
                pose, frame = odom_SE3_base(i), f"{slash}base_link"
                if not mounted_on:
                    pose, frame = pose @ BASE_SE3_LIDAR, "lidar_top"
                bag.write(
                    "/odom",
                    stamp,
                    odometry_message(pose, (5, 0, 0), (0, 0, 0), stamp, message_type, child_frame_id=frame),
                )
            point = (odom_SE3_base(i) @ BASE_SE3_LIDAR).inverse().transform(WORLD_POINT).astype(np.float32)
            cloud = {name: point[:, k] for k, name in enumerate("xyz")}
            cloud |= {name: np.ones(1, np.float32) for name in columns}
            bag.write("/lidar/points", stamp, cloud_message(cloud, stamp, f"{slash}lidar_top", message_type))
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "lidarloop_core.cli", "replay", *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, check=False)


def test_the_recorded_pace_gives_latencies_and_the_load_they_were_measured_under(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_model()
    bag = write_bag(tmp_path / "drive.mcap", 30)
    result = run(bag, "--model", model, "--out", tmp_path / "out", "--rate", "0.5", "--duration-s", "1.15")
    assert result.returncode == 0, result.stderr
    assert "the machine was" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["detections.json", "latency.json"]

    latency = json.loads((tmp_path / "out" / "latency.json").read_text())
    num_answered = latency["frames_detected"]
    # How many of them a busy machine answers before the next one comes is its own affair.
    assert latency["frames_sent"] == 12 == num_answered + latency["frames_dropped"]
    assert len(latency["latency_ms"]["samples"]) == num_answered > 0
    p50, p99, p99_9, largest = (latency["latency_ms"][name] for name in ("p50", "p99", "p99_9", "max"))
    assert 0 < p50 <= p99 <= p99_9 <= largest == max(latency["latency_ms"]["samples"])
    assert tuple(latency["stage_ms"]) == STAGES
    assert 0 < latency["rate_hz"] < 5.5, "10 Hz, played half as fast"
    assert 50 < latency["rss_mb"] < 600
    assert latency["model_sha256"] == read_model(model).sha256
    assert latency["deadline_misses"] >= 0
    assert latency["conditions"].startswith(
        "at the recorded pace, 0.5 times as fast, the first 1.15 s of the drive; the"
    )
    assert latency["load"]["cores"] >= 1
    assert latency["load"]["other_processes_cores"] >= 0
    _, meta = read_results(tmp_path / "out" / "detections.json", CLASS_NAMES)
    assert (meta["provenance"]["pace"], meta["provenance"]["rate"]) == ("recorded", 0.5)


def test_in_lockstep_every_cloud_is_answered_and_no_latency_is_claimed(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    """The network takes far longer than the 2 ms between two clouds: at the recorded pace most would be dropped."""
    model = make_model(num_sweeps=3, sweep_interval_s=0.1, busy_layers=40)
    sha256 = read_model(model).sha256
    bag = write_bag(tmp_path / "drive.mcap", 12, slashes=True)
    result = run(bag, "--model", model, "--out", tmp_path / "out", "--pace", "lockstep")
    assert result.returncode == 0, result.stderr
    assert "latency" not in "".join(result.stdout.split("the node reported")[0])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["detections.json"]

    boxes, meta = read_results(tmp_path / "out" / "detections.json", CLASS_NAMES)
    assert (meta["frame"], meta["model_sha256"]) == ("world", sha256)
    assert meta["provenance"]["bag"] == "drive.mcap"
    assert meta["provenance"]["node_parameters"]["motion_source"] == "odometry"
    assert (meta["provenance"]["pace"], meta["provenance"]["clouds_sent"]) == ("lockstep", 12)
    assert list(boxes) == [str(T0 + i * 100 * MS) for i in range(12)]
    for i, (stamp, found) in enumerate(boxes.items()):
        # One box at the point, in the world, whatever the pillar borders split off.
        np.testing.assert_allclose(found.centers, np.repeat(WORLD_POINT, len(found), axis=0), atol=1e-3, err_msg=stamp)
        assert found.scores.sum() == pytest.approx(min(i + 1, 3) / 8), "the sweeps are merged from the third cloud on"


def test_a_bag_without_odometry_is_answered_in_the_lidar_frame(make_model: Callable[..., Path], tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "still.mcap", 3, num_odometry=0)
    result = run(bag, "--model", make_model(num_sweeps=3), "--out", tmp_path / "out", "--pace", "lockstep")
    assert result.returncode == 0, result.stderr
    boxes, meta = read_results(tmp_path / "out" / "detections.json", CLASS_NAMES)
    assert meta["frame"] == "lidar"
    first = BASE_SE3_LIDAR.inverse().transform(WORLD_POINT)
    np.testing.assert_allclose(boxes[str(T0)].centers, first, atol=1e-4)


@pytest.mark.parametrize("mounted_on", ["", "/tf"], ids=["odometry of the LiDAR itself", "mounting on /tf alone"])
def test_without_static_transforms_results_are_in_the_world_all_the_same(
    make_model: Callable[..., Path], tmp_path: Path, mounted_on: str
) -> None:
    bag = write_bag(tmp_path / "drive.mcap", 8, mounted_on=mounted_on)
    model = make_model(num_sweeps=3, sweep_interval_s=0.1)
    result = run(bag, "--model", model, "--out", tmp_path / "out", "--pace", "lockstep")
    assert result.returncode == 0, result.stderr
    boxes, meta = read_results(tmp_path / "out" / "detections.json", CLASS_NAMES)
    assert meta["frame"] == "world"
    for stamp, found in boxes.items():
        np.testing.assert_allclose(found.centers, np.repeat(WORLD_POINT, len(found), axis=0), atol=1e-3, err_msg=stamp)
    assert boxes[str(T0 + 700 * MS)].scores.sum() == pytest.approx(3 / 8), "merged"


def test_clouds_of_stamp_zero_are_counted_and_named(make_model: Callable[..., Path], tmp_path: Path) -> None:
    """In the bag's own times, too, the first is 54 years before the others."""
    columns = {name: np.full(1, 3.0, np.float32) for name in ("x", "y", "z", "intensity")}
    with BagWriter(tmp_path / "zeros.mcap") as bag:
        for i in range(8):
            stamp = T0 + i * 100 * MS if i >= 6 else 0
            time_ns = T0 + i * 100 * MS if i else 0
            bag.write("/lidar/points", time_ns, cloud_message(columns, stamp, "lidar_top", message_type))
    result = run(tmp_path / "zeros.mcap", "--model", make_model(), "--out", tmp_path / "out", "--pace", "lockstep")
    assert result.returncode == 0, result.stderr
    boxes, meta = read_results(tmp_path / "out" / "detections.json", CLASS_NAMES)
    assert (len(boxes), meta["provenance"]["clouds_sent"]) == (2, 8)
    assert "stamp is 0" in " ".join(result.stdout.split())


def test_clouds_beyond_the_odometry_are_reported(make_model: Callable[..., Path], tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "silent.mcap", 12, num_odometry=4)
    result = run(bag, "--model", make_model(num_sweeps=3), "--out", tmp_path / "out", "--pace", "lockstep")
    assert result.returncode == 0, result.stderr
    boxes, meta = read_results(tmp_path / "out" / "detections.json", CLASS_NAMES)
    num_without = meta["provenance"]["num_without_pose"]
    assert num_without == 12 - len(boxes) > 0
    said = f"{num_without} of 12 answered clouds are not in detections.json"
    assert said in " ".join(result.stderr.split())


@pytest.mark.fault("truncated_bag")
def test_a_bag_that_breaks_off_is_refused_and_once_salvaged_answered(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    whole, broken, saved = (tmp_path / f"{name}.mcap" for name in ("whole", "broken", "saved"))
    points = np.random.default_rng(0).uniform(-30, 30, (4, 50_000)).astype(np.float32)
    columns = dict(zip(("x", "y", "z", "intensity"), points, strict=True))
    with BagWriter(whole) as bag:
        for i in range(8):
            stamp = T0 + i * 100 * MS
            bag.write("/lidar/points", stamp, cloud_message(columns, stamp, "lidar_top", message_type))
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    refused = run(broken, "--model", make_model(), "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert "--salvage" in refused.stderr
    num_saved = salvage(broken, saved).message_counts["/lidar/points"]
    assert 3 <= num_saved < 8
    result = run(saved, "--model", make_model(), "--out", tmp_path / "out", "--pace", "lockstep")
    assert result.returncode == 0, result.stderr
    boxes, _ = read_results(tmp_path / "out" / "detections.json", CLASS_NAMES)
    assert list(boxes) == [str(T0 + i * 100 * MS) for i in range(num_saved)]


def test_mistakes_are_one_line_and_exit_code_1(
    make_model: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, bag, out = make_model(), write_bag(tmp_path / "drive.mcap", 2), tmp_path / "out"
    truncated = tmp_path / "truncated.mcap"
    truncated.write_bytes(bag.read_bytes()[:-100])
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(b"no model")
    params = {name: tmp_path / f"{name}.yaml" for name in ("other", "flat", "tab")}
    params["other"].write_text("other_node:\n  ros__parameters:\n    score_threshold: 0.5\n")
    params["flat"].write_text("score_threshold: 0.5\n")
    params["tab"].write_text("lidar_detector:\n\tros__parameters:\n")
    cases = {
        "missing.mcap": (tmp_path / "missing.mcap", "--model", model),
        "truncated": (truncated, "--model", model),
        "/points_raw": (bag, "--model", model, "--topic", "/points_raw"),
        "expected sensor_msgs/msg/PointCloud2": (bag, "--model", model, "--topic", "/odom"),
        "foreign.onnx": (bag, "--model", foreign),
        "--params-file": (bag, "--model", model, "--params-file", tmp_path / "no.yaml"),
        "--rate received": (bag, "--model", model, "--rate", "-1"),
        "--rate is for the recorded pace": (bag, "--model", model, "--rate", "2", "--pace", "lockstep"),
        "--duration-s": (bag, "--model", model, "--duration-s", "nan"),
        "either --model": (bag,),
        "--self-label": (bag, "--model", model, "--self-label", params["other"]),
        "it names /other_node": (bag, "--model", model, "--params-file", params["other"]),
        "`ros__parameters`": (bag, "--model", model, "--params-file", params["flat"]),
        "line 2": (bag, "--model", model, "--params-file", params["tab"]),
        "sets no parameter of /self_labeller": (bag, "--self-label", params["other"]),
        f"but {bag} is none": (bag, "--model", model, "--out", bag),
        f"but {foreign} is none": (bag, "--model", model, "--out", foreign / "out"),
    }
    for said, arguments in cases.items():
        code = main(["replay", "--out", str(out), *map(str, arguments)])
        stderr = capfd.readouterr().err
        assert code == 1, (said, stderr)
        assert said in stderr
        assert stderr.count("\n") == 1, stderr
    assert not out.exists()


def test_a_bag_whose_every_cloud_is_rejected_ends_with_the_nodes_reason(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bare.mcap", 15, columns=())
    result = run(bag, "--model", make_model(), "--out", tmp_path / "out")
    assert result.returncode == 1
    assert "answered none of 15 clouds" in result.stderr
    assert "intensity" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_misspelt_parameter_is_refused_by_name(make_model: Callable[..., Path], tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive.mcap", 2)
    file = tmp_path / "params.yaml"
    file.write_text("lidar_detector:\n  ros__parameters:\n    score_treshold: 0.5\n")
    result = run(bag, "--model", make_model(), "--out", tmp_path / "out", "--params-file", file)
    assert result.returncode == 1
    assert "did you mean 'score_threshold'" in result.stderr


def test_a_segmenter_is_refused_with_the_command_that_scores_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "segmenter.onnx"
    write_model(model, by_intensity_onnx(VOXEL_SEGMENTER), VOXEL_SEGMENTER)
    assert main(["replay", str(tmp_path / "drive.mcap"), "--model", str(model), "--out", str(tmp_path / "out")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "a model for segmentation; expected a detector" in said
    assert "lidarloop evaluate" in said


def node_of(pid: int) -> int | None:
    """The process id of a replay's node; a replay has other, short-lived children while it starts."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"lidarloop_ros.detector.node" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def heed_interrupts() -> None:
    """A shell lets what it starts in the background ignore SIGINT, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_long_replay(model: Path, tmp_path: Path) -> tuple[subprocess.Popen[str], int]:
    """A replay that waits for minutes between its first two clouds and says so, and the process id of its node."""
    bag = write_bag(tmp_path / "long.mcap", 2)
    arguments = command(bag, "--model", model, "--out", tmp_path / "out", "--rate", "0.01")
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 60
    while (node := node_of(process.pid)) is None:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.stderr is not None
    assert "the recording pauses" in process.stderr.readline()
    return process, node


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc here")
def test_death_of_the_node_ends_the_replay_with_an_error(make_model: Callable[..., Path], tmp_path: Path) -> None:
    process, node = start_long_replay(make_model(), tmp_path)
    os.kill(node, signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the node was killed by signal SIGKILL" in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("orphan")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc here")
def test_a_killed_replay_takes_its_node_along(make_model: Callable[..., Path], tmp_path: Path) -> None:
    process, node = start_long_replay(make_model(), tmp_path)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{node}").exists():
        assert time.monotonic() < deadline, "the node lives on"
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc here")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_leaves_neither_files_nor_the_node(
    make_model: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    process, node = start_long_replay(make_model(), tmp_path)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert not Path(f"/proc/{node}").exists()
    assert not (tmp_path / "out").exists()
