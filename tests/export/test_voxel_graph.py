"""A detector on voxels as one plain ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.model.model_file import seal, write_model
from lidarloop_core.model.tensors import names
from tests.builders import VOXEL_DETECTOR

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from lidarloop_export.clouds import clouds, full_cloud, random_cloud  # noqa: E402
from lidarloop_export.graph import FORBIDDEN, with_raw_maps, without_raw_maps  # noqa: E402
from lidarloop_export.optimise import optimised  # noqa: E402
from lidarloop_export.parity import TOLERANCE, check_parity  # noqa: E402
from lidarloop_export.precision_fp16 import in_float16  # noqa: E402
from lidarloop_export.rtx_check import check_nvidia_builds, is_installed  # noqa: E402
from tests.norms import give_statistics  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.tasks.detection.export_view import DetectionView


@pytest.fixture(scope="module")
def detector() -> DetectionView:
    from lidarloop_training.models.detector import NetworkConfig
    from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS
    from lidarloop_training.tasks.detection.task import DetectionConfig

    torch.manual_seed(0)
    config = NetworkConfig(
        class_groups=CENTERPOINT_GROUPS,
        voxel_channels=(8, 8, 12),
        voxel_blocks=(1, 1, 1),
        map_channels=16,
        first_stride=1,
        stage_channels=(8, 16),
        stage_depths=(1, 1),
        neck_channels=8,
        shared_channels=8,
        group_channels=8,
    )
    task = DetectionConfig(spec=VOXEL_DETECTOR, network=config).task()
    network = task.build().eval()
    give_statistics(network)
    return task.export_view(network)


@pytest.fixture(scope="module")
def full(detector: DetectionView) -> bytes:
    return with_raw_maps(detector)


@pytest.fixture(scope="module")
def graph(full: bytes) -> bytes:
    return without_raw_maps(full, VOXEL_DETECTOR)


def test_the_graph_is_plain_and_takes_the_specs_tensors(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    assert [value.name for value in model.graph.input] == list(names(VOXEL_DETECTOR.inputs))
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {*FORBIDDEN, "ScatterND"}
    assert all(node.domain == "" for node in model.graph.node)


def test_torch_and_onnx_runtime_agree_on_all_clouds(detector: DetectionView, full: bytes, graph: bytes) -> None:
    results = list(check_parity(detector, full, graph, clouds(VOXEL_DETECTOR)))
    assert [r.cloud for r in results][:3] == ["one point", "random 50,000 points", "full capacity"]
    assert max(max(r.raw, r.decoded) for r in results) < TOLERANCE
    assert results[2].sizes["num_voxels_0"] == 1500


def test_optimising_changes_no_output(full: bytes, graph: bytes, tmp_path: Path) -> None:
    cloud = random_cloud(VOXEL_DETECTOR, 3000, seed=4)
    found = []
    for name, network in (("plain", graph), ("optimised", optimised(graph))):
        write_model(tmp_path / f"{name}.onnx", network, VOXEL_DETECTOR)
        found.append(Detector(open_backend(tmp_path / f"{name}.onnx"), score_threshold=0.0).detect(cloud).boxes)
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-5)


def test_half_precision_keeps_places_in_float32(full: bytes, graph: bytes, tmp_path: Path) -> None:
    """Weights of the convolutions are halved, and the maps stay near; what makes features of metres is untouched."""
    half = in_float16(optimised(full))
    model = onnx.load_from_string(half)
    kinds = [tensor.data_type for tensor in model.graph.initializer]
    assert onnx.TensorProto.FLOAT16 in kinds
    write_model(tmp_path / "half.onnx", without_raw_maps(half, VOXEL_DETECTOR), VOXEL_DETECTOR)
    write_model(tmp_path / "full.onnx", graph, VOXEL_DETECTOR)
    cloud = random_cloud(VOXEL_DETECTOR, 3000, seed=5)
    scores = [
        Detector(open_backend(tmp_path / name), score_threshold=0.0).detect(cloud).boxes.scores.max()
        for name in ("half.onnx", "full.onnx")
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
    floor = next(node for node in model.graph.node if node.op_type == "Floor")
    assert not [node for node in model.graph.node if node.op_type == "Cast" and node.output[0] in floor.input]


@pytest.mark.skipif(not is_installed(), reason="tensorrt-rtx is not installed: pip install lidarloop[rtx]")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nvidia_builds_it(full: bytes, precision: str) -> None:
    network = full if precision == "fp32" else in_float16(optimised(full))
    line = check_nvidia_builds(seal(without_raw_maps(network, VOXEL_DETECTOR), VOXEL_DETECTOR), VOXEL_DETECTOR)
    assert "SM86" in line
    assert "SM120" in line


def test_a_cloud_above_capacity_is_thinned_counted_and_still_answered(graph: bytes, tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", graph, VOXEL_DETECTOR)
    detector = Detector(open_backend(tmp_path / "model.onnx"), score_threshold=0.0)
    fits = detector.detect(random_cloud(VOXEL_DETECTOR, 100, seed=1))
    assert (fits.overfull, fits.num_thinned) == ((), 0)
    rng = np.random.default_rng(0)
    crowd = np.concatenate([full_cloud(VOXEL_DETECTOR, seed=i) for i in range(3)])[rng.permutation(4500)]
    found = detector.detect(crowd)
    assert found.num_thinned > 0
    assert [text.split(" voxels at ")[1] for text in found.overfull] == [
        "level 0, the model takes 1500",
        "level 1, the model takes 1000",
    ]
    assert len(found.boxes) > 0
