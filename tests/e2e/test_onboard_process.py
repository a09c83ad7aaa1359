"""What runs on the vehicle: no torch in the process; the shipped model answers every cloud within its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lidarloop_core.cli import main
from lidarloop_core.model.model_file import read_model

MODEL = "models/pillar-toytown.onnx"


@pytest.mark.parametrize(
    "module", ["lidarloop_ros.detector.node", "lidarloop_ros.replay.results", "lidarloop_core.cli"]
)
def test_onboard_modules_load_no_torch(module: str) -> None:
    if module.startswith("lidarloop_ros"):
        pytest.importorskip("rclpy", reason="no ROS 2 here")
    code = f"import sys, {module}; print([m for m in ('torch', 'onnx', 'matplotlib') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_help_is_answered_without_loading_ros() -> None:
    code = (
        "import sys, contextlib\n"
        "from lidarloop_core.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['replay', '--help'])\n"
        "print([m for m in ('rclpy', 'numba', 'rosbags') if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--params-file" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_shipped_model_answers_every_cloud_within_its_memory(repository: Path, tmp_path: Path) -> None:
    """In lockstep, so that none is lost on a busy machine; latency is measured by the demo, on a calm one."""
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")
    model = repository / MODEL
    if not model.exists():
        pytest.skip(f"{MODEL} is not in this checkout")
    bag, out = tmp_path / "drive.mcap", tmp_path / "out"
    assert main(["convert", "toytown", "901", str(bag), "--duration-s", "2", "--no-cameras"]) == 0
    replay = ["replay", str(bag), "--model", str(model), "--out", str(out)]
    assert main([*replay, "--pace", "lockstep"]) == 0
    detections = json.loads((out / "detections.json").read_text())
    assert len(detections["results"]) == 20
    assert detections["meta"]["frame"] == "world"
    assert main([*replay, "--rate", "0.25", "--duration-s", "1"]) == 0
    latency = json.loads((out / "latency.json").read_text())
    assert latency["frames_sent"] == 11  # both ends of the first second
    assert latency["rss_mb"] < 600
    assert latency["model_sha256"] == read_model(model).sha256
