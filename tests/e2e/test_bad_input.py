"""A user's mistakes: one clear line on stderr, a non-zero exit, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from lidarloop_core.io.bag import BagWriter, message_type
from lidarloop_core.io.messages import cloud_message, string_message
from lidarloop_core.model.model_file import write_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.recipes.pillar_toytown import toytown_spec

STAMP_NS = 1_700_000_000_000_000_000


def lidarloop(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lidarloop_core.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def bag_of_clouds(path: Path, columns: tuple[str, ...]) -> Path:
    points = {name: np.ones(50, np.float32) for name in columns}
    with BagWriter(path) as bag:
        for i in range(3):
            stamp = STAMP_NS + i * 100_000_000
            bag.write("/lidar/points", stamp, cloud_message(points, stamp, "lidar_top", message_type))
    return path


def bag_of_words(path: Path) -> Path:
    with BagWriter(path) as bag:
        bag.write("/chatter", STAMP_NS, string_message("hello", message_type))
    return path


def truncated(path: Path) -> Path:
    bag_of_clouds(path, ("x", "y", "z", "intensity"))
    path.write_bytes(path.read_bytes()[:-200])
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def foreign_onnx(path: Path) -> Path:
    graph = onnx.helper.make_graph([], "empty", [], [])
    return written(path, onnx.helper.make_model(graph).SerializeToString())


def corrupt_model(path: Path) -> Path:
    spec: ModelSpec = toytown_spec()
    graph = onnx.helper.make_graph([], "empty", [], [])
    write_model(path, onnx.helper.make_model(graph).SerializeToString(), spec)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    return written(path, bytes(content))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(truncated, "truncated", id="truncated"),
        pytest.param(lambda path: written(path, b"no bag at all" * 100), "bag", id="foreign"),
        pytest.param(bag_of_words, "/chatter", id="no cloud topic"),
        pytest.param(lambda path: path, "drive.mcap", id="missing"),
    ],
)
def test_replay_refuses_a_bad_bag(make: Callable[[Path], Path], said: str, tmp_path: Path, shipped_model: Path) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    bag = make(tmp_path / "drive.mcap")
    done = lidarloop("replay", bag, "--model", shipped_model, "--out", tmp_path / "out")
    assert_one_line(done, said)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(foreign_onnx, "lidarloop export", id="foreign"),
        pytest.param(corrupt_model, "corrupt", id="bit flipped"),
        pytest.param(lambda path: written(path, b"hello"), "model.onnx", id="no onnx"),
        pytest.param(lambda path: path, "model.onnx", id="missing"),
    ],
)
def test_replay_refuses_a_bad_model(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    bag = bag_of_clouds(tmp_path / "drive.mcap", ("x", "y", "z", "intensity"))
    done = lidarloop("replay", bag, "--model", make(tmp_path / "model.onnx"), "--out", tmp_path / "out")
    assert_one_line(done, said)
    assert not (tmp_path / "out").exists()


def test_replay_says_why_clouds_without_z_were_not_answered(tmp_path: Path, shipped_model: Path) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    bag = bag_of_clouds(tmp_path / "drive.mcap", ("x", "y", "intensity"))
    done = lidarloop("replay", bag, "--model", shipped_model, "--out", tmp_path / "out")
    assert done.returncode != 0
    assert "'z'" in done.stderr or " z" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("train", "pillar-moontown"), id="unknown recipe"),
        pytest.param(("train", "pillar-smoke", "--optimisation.learning-speed", "3"), id="unknown option"),
        pytest.param(("convert", "moontown", "7", "x.mcap"), id="unknown source"),
        pytest.param(("fly",), id="unknown command"),
    ],
)
def test_wrong_usage_exits_with_two(arguments: tuple[str, ...]) -> None:
    done = lidarloop(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert arguments[-1].lstrip("-") in done.stderr or arguments[1] in done.stderr


def test_convert_leaves_nothing_behind_when_its_source_is_bad(tmp_path: Path) -> None:
    done = lidarloop("convert", "kitti-raw", tmp_path / "nowhere", tmp_path / "out.mcap")
    assert_one_line(done, "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_convert_says_that_its_folder_is_a_file(tmp_path: Path) -> None:
    pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")
    in_the_way = written(tmp_path / "folder", b"")
    done = lidarloop("convert", "toytown", "7", in_the_way / "x.mcap", "--duration-s", "0.2", "--no-cameras")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("lidarloop convert: ")  # after the progress bar
    assert str(in_the_way) in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluate_refuses_results_that_are_none(tmp_path: Path) -> None:
    bag = bag_of_clouds(tmp_path / "drive.mcap", ("x", "y", "z", "intensity"))
    done = lidarloop("evaluate", written(tmp_path / "detections.json", b"{}"), bag, "--out", tmp_path / "out")
    assert_one_line(done, "detections.json")
    assert not (tmp_path / "out").exists()


def test_export_refuses_a_folder_without_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="no torch here")
    done = lidarloop("export", tmp_path, tmp_path / "model.onnx")
    assert_one_line(done, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def assert_one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("lidarloop ")
    assert said in lines[0]
