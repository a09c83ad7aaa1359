from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lidarloop_core.model.spec import ModelSpec

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from lidarloop_core.errors import LidarloopError  # noqa: E402
from lidarloop_core.inference.backend import open_backend  # noqa: E402
from lidarloop_core.inference.detector import Detector  # noqa: E402
from lidarloop_core.model.model_file import read_model  # noqa: E402
from lidarloop_export import onnx as command  # noqa: E402
from lidarloop_export.clouds import Cloud, random_cloud  # noqa: E402
from lidarloop_export.graph import with_raw_maps  # noqa: E402
from lidarloop_export.onnx import export  # noqa: E402
from lidarloop_training.stages.checkpoint import Loaded  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.models.detector import CenterPoint
    from lidarloop_training.tasks.detection.export_view import DetectionView


@pytest.fixture
def few_clouds(monkeypatch: pytest.MonkeyPatch, spec: ModelSpec) -> None:
    monkeypatch.setattr(command, "clouds", lambda _: iter([Cloud("random", random_cloud(spec, 2000, seed=0))]))


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch, detector: DetectionView, tmp_path: Path) -> Path:
    """Stands in for a folder: reading one is the checkpoint's own test."""

    class Deployable:
        spec = detector.spec

        def export_view(self, network: CenterPoint) -> DetectionView:
            assert network is detector.network
            return detector

    monkeypatch.setattr(command, "load_task", lambda path: Loaded(Deployable(), detector.network, path))
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_the_file_is_the_model(
    few_clouds: None, checkpoint: Path, spec: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "model.onnx"
    export(checkpoint, out, check_nvidia="never")
    file = read_model(out)
    assert file.spec == spec
    printed = capsys.readouterr().out
    assert "parity on random" in printed
    assert f"sha256 {file.sha256}" in printed
    assert printed.splitlines()[-1] == f"next: lidarloop replay BAG --model {out} --out out/replay"


def test_the_vehicles_detector_runs_it(
    few_clouds: None, checkpoint: Path, spec: ModelSpec, tmp_path: Path, detector: DetectionView
) -> None:
    export(checkpoint, tmp_path / "model.onnx", check_nvidia="never")
    vehicle = Detector(open_backend(tmp_path / "model.onnx"), score_threshold=0.0)
    boxes = vehicle.detect(random_cloud(spec, 2000, seed=4)).boxes
    assert boxes.class_names == spec.class_names
    assert 0 < len(boxes) <= spec.detection.max_detections


def test_nothing_is_written_where_parity_fails(
    monkeypatch: pytest.MonkeyPatch, few_clouds: None, checkpoint: Path, tmp_path: Path
) -> None:
    real = with_raw_maps

    def other_weights(detector: DetectionView) -> bytes:
        from copy import deepcopy

        wrong = deepcopy(detector)
        wrong.network.encoder.linear.weight.data += 0.05
        return real(wrong)

    monkeypatch.setattr(command, "with_raw_maps", other_weights)
    with pytest.raises(LidarloopError, match="differs from torch"):
        export(checkpoint, tmp_path / "model.onnx", check_nvidia="never")
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LidarloopError, match="holds no checkpoint"):
        export(tmp_path, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
