from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from lidarloop_core.errors import LidarloopError  # noqa: E402
from lidarloop_export.clouds import Cloud, clouds, full_cloud, graph_inputs, random_cloud  # noqa: E402
from lidarloop_export.graph import without_raw_maps  # noqa: E402
from lidarloop_export.parity import TOLERANCE, check_parity  # noqa: E402
from lidarloop_training.tasks.export_view import largest_difference  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.tasks.detection.export_view import DetectionView


def changed(graph: bytes, name: str, change: Callable[..., Any]) -> bytes:
    """The graph with one weight's array passed through ``change``."""
    model = onnx.load_from_string(graph)
    tensor = next(i for i in model.graph.initializer if name in i.name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor).copy()), tensor.name))
    return model.SerializeToString()


def test_torch_and_onnx_runtime_agree_on_all_clouds(detector: DetectionView, graph: bytes) -> None:
    results = list(check_parity(detector, graph, without_raw_maps(graph, detector.spec), clouds(detector.spec)))
    names = [result.cloud for result in results]
    assert names[:3] == ["one point", "random 50,000 points", "full capacity"]
    assert max(max(r.raw, r.decoded) for r in results) < TOLERANCE
    assert results[0].sizes["num_points"] == 1


@pytest.mark.real
def test_real_clouds_are_among_them_where_they_are(detector: DetectionView, real_data: Path) -> None:
    names = [cloud.name for cloud in clouds(detector.spec)]
    assert "nuScenes keyframe" in names
    assert "nuScenes, ten sweeps" in names


@pytest.mark.parametrize("weight", ["encoder.linear", "regressions.3"])
def test_a_changed_weight_is_refused(detector: DetectionView, graph: bytes, weight: str) -> None:
    broken = changed(graph, weight, lambda w: w + np.float32(0.01))
    cloud = Cloud("random", random_cloud(detector.spec, 2000, seed=0))
    with pytest.raises(LidarloopError, match="differs from torch on random"):
        list(check_parity(detector, broken, without_raw_maps(broken, detector.spec), [cloud]))


def test_a_weight_that_is_not_finite_is_refused(detector: DetectionView, graph: bytes) -> None:
    broken = changed(graph, "encoder.linear", lambda w: w * np.float32(np.nan))
    cloud = Cloud("random", random_cloud(detector.spec, 2000, seed=0))
    with pytest.raises(LidarloopError, match="differs from torch"):
        list(check_parity(detector, broken, without_raw_maps(broken, detector.spec), [cloud]))


def test_decoding_that_differs_is_refused(detector: DetectionView, graph: bytes) -> None:
    """The raw maps agree, the boxes of the deployed graph do not."""
    model = onnx.load_from_string(without_raw_maps(graph, detector.spec))
    exponential = next(n for n in model.graph.node if n.op_type == "Exp")
    exponential.op_type = "Softplus"
    cloud = Cloud("random", random_cloud(detector.spec, 2000, seed=0))
    with pytest.raises(LidarloopError, match="in the decoded outputs"):
        list(check_parity(detector, graph, model.SerializeToString(), [cloud]))


def test_full_cloud_fills_every_place(spec: ModelSpec) -> None:
    inputs = graph_inputs(full_cloud(spec, seed=0), spec)
    assert len(inputs["cell"]) == spec.pillars.max_pillars
    assert (inputs["count"] == spec.pillars.max_points_per_pillar).all()
    np.testing.assert_array_equal(
        np.sort(inputs["slot"]), np.arange(spec.pillars.max_pillars * spec.pillars.max_points_per_pillar)
    )


def test_largest_difference_is_absolute_up_to_one_and_relative_beyond() -> None:
    zero_hundred = torch.tensor([0.0, 100.0])
    assert largest_difference(zero_hundred, torch.tensor([0.5, 101.0])) == pytest.approx(0.5)
    assert largest_difference(zero_hundred, torch.tensor([0.0, 101.0])) == pytest.approx(0.01)
    assert largest_difference(torch.tensor([1.0]), torch.tensor([torch.nan])) == float("inf")
    assert largest_difference(torch.zeros(0), torch.zeros(0)) == 0
