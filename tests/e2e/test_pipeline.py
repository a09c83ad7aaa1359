"""The whole way in a few steps: train → export → replay through the node → evaluate, by the commands a user types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidarloop_core.cli import main
from lidarloop_core.model.model_file import read_model

NUM_CLOUDS = 20


def test_train_export_replay_evaluate(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="no torch here: pip install lidarloop[train]")
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")
    run, model, bag, out = tmp_path / "run", tmp_path / "model.onnx", tmp_path / "drive.mcap", tmp_path / "out"

    assert main(["train", "pillar-smoke", "--run.out", str(run), "--data.root", str(tmp_path / "data")]) == 0
    assert main(["export", str(run), str(model)]) == 0
    assert main(["convert", "toytown", "902", str(bag), "--duration-s", "2", "--no-cameras"]) == 0
    replay = ["replay", str(bag), "--model", str(model), "--out"]
    assert main([*replay, str(out), "--pace", "lockstep"]) == 0
    assert main([*replay, str(out / "timed"), "--rate", "0.25", "--duration-s", "1"]) == 0
    detections, latency = out / "detections.json", out / "timed" / "latency.json"
    assert main(["evaluate", str(detections), str(bag), "--latency", str(latency), "--out", str(out)]) == 0

    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["frames_sent"] == NUM_CLOUDS // 2 + 1  # both ends of the first second
    assert metrics["model_sha256"] == read_model(model).sha256
    assert 0 <= metrics["mAP"] <= 1
    assert 0 < metrics["latency_ms"]["p50"] <= metrics["latency_ms"]["p99"]
    assert len(json.loads(detections.read_text())["results"]) == NUM_CLOUDS
    assert "<html" in (out / "report.html").read_text()
