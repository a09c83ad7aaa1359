from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec

pytest.importorskip("onnx")
pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.model.model_file import read_model, write_model
from lidarloop_export.box_parity import LIMITS, deviations
from lidarloop_export.edit import Editor
from lidarloop_export.limits import beyond
from lidarloop_export.parity_command import parity

if TYPE_CHECKING:
    from lidarloop_training.tasks.detection.export_view import DetectionView


def boxes(*rows: tuple[float, float, float, float, int]) -> Boxes3D:
    """Rows: x, y, yaw, score, label."""
    values = np.zeros((len(rows), 9), np.float32)
    values[:, 3:6] = 1
    for i, (x, y, yaw, _, _) in enumerate(rows):
        values[i, [0, 1, 6]] = x, y, yaw
    scores = np.array([row[3] for row in rows], np.float32)
    return Boxes3D(values, scores, np.array([row[4] for row in rows], np.int64), ("car", "bus"))


def test_the_same_boxes_do_not_deviate() -> None:
    a = boxes((0, 0, 0, 0.9, 0), (5, 5, 1, 0.4, 1))
    found = deviations([a, a], [a, a[[1, 0]]], 0.5, 0.5)
    assert found.num_boxes == 4
    assert found.center_p99_cm == found.yaw_p99_deg == found.score_p99 == found.unmatched_percent == 0
    assert found.map_drop == 0
    assert beyond(found, LIMITS["fp32"]) == []


def test_deviations_in_closed_form() -> None:
    a = boxes((0, 0, np.pi - 0.01, 0.9, 0))
    b = boxes((0.03, 0.04, -np.pi + 0.01, 0.8, 0))
    found = deviations([a], [b], 0.50, 0.47)
    assert found.center_p50_cm == pytest.approx(5, rel=1e-4)
    assert found.yaw_p50_deg == pytest.approx(np.rad2deg(0.02), rel=1e-3)
    assert found.score_p50 == pytest.approx(0.1, rel=1e-5)
    assert found.map_drop == pytest.approx(3)
    assert [text.split()[0] for text in beyond(found, LIMITS["fp16"])] == [
        "center_p99_cm", "score_p99", "map_drop"
    ]  # fmt: skip


def test_pairs_are_of_one_class_near_and_at_least_total_distance() -> None:
    a = boxes((0, 0, 0, 0.9, 0), (1, 0, 0, 0.9, 0))
    b = boxes((0.9, 0, 0, 0.9, 0), (1.8, 0, 0, 0.9, 0))
    assert deviations([a], [b]).center_p50_cm == pytest.approx(85)  # 0.9 and 0.8 m, not 0.1 and 1.8 m
    other_class = boxes((0, 0, 0, 0.9, 1), (1, 0, 0, 0.1, 1))
    assert deviations([a], [other_class]).unmatched_percent == 100
    far = boxes((0, 2.5, 0, 0.9, 0))
    assert deviations([a[[0]]], [far]).unmatched_percent == 100


def test_weak_boxes_may_come_and_go() -> None:
    a = boxes((0, 0, 0, 0.9, 0), (9, 9, 0, 0.2, 0))
    assert deviations([a], [a[[0]]]).unmatched_percent == 0
    assert deviations([a[[0]]], [a]).unmatched_percent == 0
    assert deviations([a], [a[[1]]]).unmatched_percent == 100


def test_nothing_found_by_either() -> None:
    empty = Boxes3D.empty(("car",))
    found = deviations([empty], [empty])
    assert found.num_boxes == 0
    assert found.map_drop is None
    assert beyond(found, LIMITS["fp32"]) == []


def test_a_score_that_is_no_number_is_beyond_any_limit() -> None:
    a = boxes((0, 0, 0, 0.9, 0))
    assert "map_drop nan" in beyond(deviations([a], [a], 0.5, float("nan")), LIMITS["int8"])[0]


@pytest.fixture
def model(repository: Path) -> Path:
    return repository / "models/pillar-toytown.onnx"


DRIVE = ("toytown", "3301")


def test_the_command_passes_a_file_that_agrees_and_fails_one_that_does_not(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("embreex")
    from lidarloop_export.variants import optimise

    half, wrong = tmp_path / "half.onnx", tmp_path / "wrong.onnx"
    optimise(model, half, precision="fp16")
    file = read_model(model)
    editor = Editor(file.onnx_bytes)
    del editor.model.metadata_props[:]
    name = next(n.input[1] for n in editor.nodes("Conv") if "regressions" in n.input[1])
    weight = editor.constant(name)
    assert weight is not None
    editor.add_constant(name, weight * np.float32(1.05))
    write_model(wrong, editor.finish(), file.spec)
    capsys.readouterr()
    assert parity(model, drive=DRIVE, variants=(half,), frames=2) == 0
    assert parity(model, drive=DRIVE, variants=(half, wrong), frames=2, json=tmp_path / "parity.json") == 1
    rows = json.loads((tmp_path / "parity.json").read_text())["rows"]
    assert [bool(row["beyond"]) for row in rows] == [False, False, True]
    assert rows[0]["deviations"]["center_p99_cm"] == 0
    assert rows[2]["beyond"][0].startswith("center_p99_cm")
    assert rows[1]["precision"] == "fp16"
    assert rows[1]["deviations"]["map_before"] > 50


def test_torch_needs_its_checkpoint(model: Path) -> None:
    pytest.importorskip("embreex")
    with pytest.raises(ConfigError, match="received no --checkpoint"):
        parity(model, drive=DRIVE, against=("torch",), frames=1)


def test_a_variant_of_another_model_is_refused(model: Path, tmp_path: Path, graph: bytes, spec: ModelSpec) -> None:
    pytest.importorskip("embreex")
    from lidarloop_export.graph import without_raw_maps

    write_model(tmp_path / "other.onnx", without_raw_maps(graph, spec), spec)
    with pytest.raises(ConfigError, match="whose spec is not that of"):
        parity(model, drive=DRIVE, variants=(tmp_path / "other.onnx",), frames=1)


def test_torch_as_a_backend_agrees(detector: DetectionView, graph: bytes, spec: ModelSpec, tmp_path: Path) -> None:
    from lidarloop_core.inference.backend import open_backend
    from lidarloop_export.clouds import graph_inputs, random_cloud
    from lidarloop_export.graph import without_raw_maps
    from lidarloop_training.stages.infer import TorchBackend

    write_model(tmp_path / "model.onnx", without_raw_maps(graph, spec), spec)
    inputs = graph_inputs(random_cloud(spec, 3000, seed=5), spec)
    expected = open_backend(tmp_path / "model.onnx").infer(inputs)
    backend = TorchBackend(detector)
    assert backend.device.startswith("torch")
    for name, value in backend.infer(inputs).items():
        assert value.dtype == expected[name].dtype
        assert value.shape == expected[name].shape
    np.testing.assert_allclose(backend.infer(inputs)["scores"], expected["scores"], atol=1e-5)
