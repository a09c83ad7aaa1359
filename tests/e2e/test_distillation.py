"""Teacher, student, model file, node: the way of a distillation in a few steps, by the commands a user types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidarloop_core.cli import main
from lidarloop_core.model.model_file import read_model

STEPS = ["--optimisation.num-steps", "4", "--run.validate-every", "4", "--run.checkpoint-every", "4"]


def test_train_a_teacher_distill_export_replay(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="no torch here: pip install lidarloop[train]")
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")
    data = ["--data.root", str(tmp_path / "data"), "--data.duration-s", "1"]
    teacher, student, model = (tmp_path / name for name in ("teacher", "student", "model.onnx"))
    named = tmp_path / "teacher.onnx"
    bag, out = tmp_path / "drive.mcap", tmp_path / "out"

    assert main(["train", "painted-smoke", *data, *STEPS, "--run.out", str(teacher)]) == 0
    assert main(["distill", "distill-smoke", "--teacher", str(teacher), *data, *STEPS, "--run.out", str(student)]) == 0
    assert main(["export", str(student), str(model), "--check-nvidia", "never"]) == 0
    assert main(["convert", "toytown", "902", str(bag), "--duration-s", "1", "--no-cameras"]) == 0
    assert main(["replay", str(bag), "--model", str(model), "--out", str(out), "--pace", "lockstep"]) == 0
    assert read_model(model).spec.point_columns == ("x", "y", "z", "intensity", "dt")
    assert len(json.loads((out / "detections.json").read_text())["results"]) == 10

    # The teacher's own model file says which paint it needs.
    assert main(["export", str(teacher), str(named), "--check-nvidia", "never"]) == 0
    assert read_model(named).spec.point_columns[5:7] == ("seen", "paint_car")
