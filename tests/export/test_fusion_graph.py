"""A detector with cameras as one plain ONNX file: its table is an input, and its pictures are bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.camera_bev.pictures import trial_pictures
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.model.model_file import read_model, seal, write_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import names
from tests.builders import VOXEL_DETECTOR, make_spec

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from lidarloop_export.clouds import Cloud, full_cloud, random_cloud  # noqa: E402
from lidarloop_export.graph import FORBIDDEN, with_raw_maps, without_raw_maps  # noqa: E402
from lidarloop_export.parity import TOLERANCE, check_parity  # noqa: E402
from lidarloop_export.rtx_check import check_nvidia_builds, is_installed  # noqa: E402
from lidarloop_training.stages.infer import TorchBackend  # noqa: E402
from tests.norms import give_statistics  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.tasks.detection.export_view import DetectionView

RIG = CameraRig(
    names=("FRONT", "LEFT", "BACK"), width=48, height=24, stride=8, depth_range_m=(1.0, 9.0), num_depths=8, map_stride=4
)
VOXELS = dataclasses.replace(VOXEL_DETECTOR, cameras=RIG)
ALONE = dataclasses.replace(make_spec(max_detections=30), cameras=dataclasses.replace(RIG, takes_points=False))
SPECS = {"points and cameras": VOXELS, "cameras alone": ALONE}


@pytest.fixture(scope="module", params=list(SPECS))
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return SPECS[request.param]


@pytest.fixture(scope="module")
def detector(spec: ModelSpec) -> DetectionView:
    from lidarloop_core.classes import NUSCENES_CLASSES
    from lidarloop_training.models.detector import NetworkConfig
    from lidarloop_training.models.fusion.camera_bev import CameraConfig
    from lidarloop_training.tasks.fusion.task import FusionConfig

    torch.manual_seed(0)
    network = NetworkConfig(
        class_groups=(NUSCENES_CLASSES,),
        pillar_channels=8,
        voxel_channels=(8, 8, 12),
        voxel_blocks=(1, 1, 1),
        map_channels=8,
        first_stride=1 if spec is VOXELS else 2,
        stage_channels=(8, 16),
        stage_depths=(1, 1),
        neck_channels=8,
        shared_channels=8,
        group_channels=8,
    )
    config = FusionConfig(
        spec=spec,
        network=network,
        camera=CameraConfig(width=4, hidden_channels=8, channels=6),
        camera_dropout=0.0,
    )
    made = config.task().build().eval()
    give_statistics(made)
    return config.task().export_view(made)


@pytest.fixture(scope="module")
def full(detector: DetectionView) -> bytes:
    return with_raw_maps(detector)


@pytest.fixture(scope="module")
def graph(full: bytes, spec: ModelSpec) -> bytes:
    return without_raw_maps(full, spec)


def test_the_graph_is_plain_and_takes_the_specs_tensors(graph: bytes, spec: ModelSpec) -> None:
    model = onnx.load_from_string(graph)
    assert [value.name for value in model.graph.input] == list(names(spec.inputs))
    assert [value.name for value in model.graph.input][-4:] == ["images", "lift_places", "lift_rows", "lift_cells"]
    assert not {node.op_type for node in model.graph.node} & {*FORBIDDEN, "ScatterND"}
    assert all(node.domain == "" for node in model.graph.node)


def test_torch_and_onnx_runtime_agree(detector: DetectionView, full: bytes, graph: bytes, spec: ModelSpec) -> None:
    clouds = [Cloud("random", random_cloud(spec, 5000, seed=2)), Cloud("full", full_cloud(spec, seed=3))]
    results = list(check_parity(detector, full, graph, clouds))
    assert max(max(r.raw, r.decoded) for r in results) < TOLERANCE
    assert all(r.sizes["num_lift_rows"] > 10 for r in results)


def test_the_model_s_file_finds_what_torch_finds_with_pictures_and_without(
    detector: DetectionView, graph: bytes, spec: ModelSpec, tmp_path: Path
) -> None:
    write_model(tmp_path / "model.onnx", graph, spec)
    assert read_model(tmp_path / "model.onnx").spec == spec
    cloud = random_cloud(spec, 500, seed=4)
    answers = {}
    for runtime, backend in (("onnx", open_backend(tmp_path / "model.onnx")), ("torch", TorchBackend(detector))):
        vehicle = Detector(backend, score_threshold=0.0)
        vehicle.warm_up()
        for seen in (None, trial_pictures(RIG, spec.grid, seed=7)):
            answers[runtime, seen is None] = np.sort(vehicle.detect(cloud, seen).boxes.scores)
    for dark in (True, False):
        np.testing.assert_allclose(answers["onnx", dark], answers["torch", dark], atol=1e-5)
    assert not np.allclose(answers["onnx", True], answers["onnx", False], atol=1e-5)


def test_cameras_alone_answer_without_a_point(graph: bytes, spec: ModelSpec, tmp_path: Path) -> None:
    """With points, an empty cloud is nothing to look at; cameras alone look."""
    write_model(tmp_path / "model.onnx", graph, spec)
    nothing = np.zeros((0, len(spec.point_columns)), np.float32)
    detector = Detector(open_backend(tmp_path / "model.onnx"), score_threshold=0.0)
    found = detector.detect(nothing, trial_pictures(RIG, spec.grid, seed=7)).boxes
    assert (len(found) > 0) == (spec is ALONE)


@pytest.mark.skipif(not is_installed(), reason="tensorrt-rtx is not installed: pip install lidarloop[rtx]")
def test_nvidia_builds_it(graph: bytes, spec: ModelSpec) -> None:
    line = check_nvidia_builds(seal(graph, spec), spec)
    assert "SM86" in line
    assert "SM120" in line
