"""A segmenter as one plain ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels, Segmenter
from lidarloop_core.model.model_file import read_model, seal, write_model
from lidarloop_core.model.tensors import names
from tests.builders import VOXEL_SEGMENTER

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
from lidarloop_export.variants import optimise, variant  # noqa: E402
from tests.norms import give_statistics  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.tasks.segmentation.export_view import SegmentationView


@pytest.fixture(scope="module")
def view() -> SegmentationView:
    from lidarloop_training.models.unet import UNetConfig
    from lidarloop_training.tasks.segmentation.task import SegmentationConfig

    torch.manual_seed(0)
    config = UNetConfig(channels=(8, 12, 16), encoder_blocks=(1, 1, 1), decoder_blocks=(0, 1), head_channels=12)
    task = SegmentationConfig(spec=VOXEL_SEGMENTER, network=config).task()
    network = task.build().eval()
    give_statistics(network)
    with torch.no_grad():
        network.head.classify.weight *= 10  # answers that differ
    return task.export_view(network)


@pytest.fixture(scope="module")
def full(view: SegmentationView) -> bytes:
    return with_raw_maps(view)


@pytest.fixture(scope="module")
def graph(full: bytes) -> bytes:
    return without_raw_maps(full, VOXEL_SEGMENTER)


def labelled(path: Path, cloud: npt.NDArray[np.float32]) -> PointLabels:
    return Segmenter(open_backend(path)).segment(cloud)


def test_the_graph_is_plain_and_takes_the_specs_tensors(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    assert [value.name for value in model.graph.input] == list(names(VOXEL_SEGMENTER.inputs))
    assert [value.name for value in model.graph.output] == ["scores", "labels"]
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {*FORBIDDEN, "ScatterND"}
    assert all(node.domain == "" for node in model.graph.node)


def test_torch_and_onnx_runtime_agree_on_all_clouds(view: SegmentationView, full: bytes, graph: bytes) -> None:
    results = list(check_parity(view, full, graph, clouds(VOXEL_SEGMENTER)))
    assert [r.cloud for r in results][:3] == ["one point", "random 50,000 points", "full capacity"]
    assert max(max(r.raw, r.decoded) for r in results) < TOLERANCE
    assert results[2].sizes["num_voxels_0"] == 1500


def test_the_file_labels_points_as_torch_does(view: SegmentationView, graph: bytes, tmp_path: Path) -> None:
    from lidarloop_training.stages.infer import TorchBackend

    write_model(tmp_path / "model.onnx", graph, VOXEL_SEGMENTER)
    cloud = random_cloud(VOXEL_SEGMENTER, 3000, seed=4)
    cloud[::10, 0] += 100
    found, expected = labelled(tmp_path / "model.onnx", cloud), Segmenter(TorchBackend(view)).segment(cloud)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert (found.labels == expected.labels).mean() > 0.999
    assert (found.labels[::10] == NO_LABEL).all()
    assert len(np.unique(found.labels)) > 4


def test_optimising_changes_no_label(graph: bytes, tmp_path: Path) -> None:
    cloud = random_cloud(VOXEL_SEGMENTER, 3000, seed=4)
    write_model(tmp_path / "plain.onnx", graph, VOXEL_SEGMENTER)
    optimise(tmp_path / "plain.onnx", tmp_path / "optimised.onnx")
    found = [labelled(tmp_path / f"{name}.onnx", cloud) for name in ("plain", "optimised")]
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-5)
    assert (found[0].labels == found[1].labels).mean() > 0.999


def test_half_precision_keeps_places_in_float32(graph: bytes, tmp_path: Path) -> None:
    """What reads metres, of voxels and of points, is untouched; labels hardly change."""
    write_model(tmp_path / "full.onnx", graph, VOXEL_SEGMENTER)
    optimise(tmp_path / "full.onnx", tmp_path / "half.onnx", precision="fp16")
    model = onnx.load(tmp_path / "half.onnx")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    halved = {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT16}
    assert len(halved) > 10
    assert not [name for name in halved if "of_point" in name or "features" in name]
    casts = {node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    floors = [node for node in model.graph.node if node.op_type == "Floor"]
    assert len(floors) == 2
    assert not [node for node in floors if set(node.input) & casts]
    cloud = random_cloud(VOXEL_SEGMENTER, 3000, seed=5)
    found = [labelled(tmp_path / f"{name}.onnx", cloud) for name in ("full", "half")]
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=0.03)
    assert (found[0].labels == found[1].labels).mean() > 0.98
    assert not np.array_equal(found[0].scores, found[1].scores)


def test_integers_are_refused_in_one_line(graph: bytes, tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", graph, VOXEL_SEGMENTER)
    with pytest.raises(ConfigError, match="int8 with a model for segmentation; expected a detector: take fp16"):
        variant(read_model(tmp_path / "model.onnx"), "int8")


@pytest.mark.skipif(not is_installed(), reason="tensorrt-rtx is not installed: pip install lidarloop[rtx]")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nvidia_builds_it(graph: bytes, precision: str) -> None:
    network = graph if precision == "fp32" else in_float16(optimised(graph))
    line = check_nvidia_builds(seal(network, VOXEL_SEGMENTER), VOXEL_SEGMENTER)
    assert "SM86" in line
    assert "SM120" in line


def test_a_cloud_above_capacity_is_thinned_counted_and_still_answered(graph: bytes, tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", graph, VOXEL_SEGMENTER)
    rng = np.random.default_rng(0)
    crowd = np.concatenate([full_cloud(VOXEL_SEGMENTER, seed=i) for i in range(3)])[rng.permutation(4500)]
    found = labelled(tmp_path / "model.onnx", crowd)
    assert found.num_thinned == np.count_nonzero(found.labels == NO_LABEL) > 0
    assert [text.split(" voxels at ")[1] for text in found.overfull] == [
        "level 0, the model takes 1500",
        "level 1, the model takes 1000",
    ]
