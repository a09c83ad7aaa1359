"""Backends run models that give a class for each point or voxel; the detector refuses them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import ModelFileError
from lidarloop_core.inference.backend import Backend, open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.tensorrt.backend import TensorRtBackend
from lidarloop_core.inference.tensorrt.cache import EngineCache
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.model_file import write_model
from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_core.pointcloud.grouping import group_pillars
from tests.builders import make_spec

onnx = pytest.importorskip("onnx")

from tests.core.inference.tensorrt.fake_tensorrt import FakeRuntime, make_trt  # noqa: E402

POINTS = dataclasses.replace(make_spec(max_points_per_pillar=20), outputs=Segmentation())
VOXELS = dataclasses.replace(
    POINTS,
    grid=VoxelGrid((-8.0, 8.0), (-4.0, 4.0), (-5.0, 3.0), (0.5, 0.5, 0.5), 900, (VoxelLevel(300), VoxelLevel(90))),
)


def network(spec: ModelSpec) -> bytes:
    """A row's score is the intensity of the first input's row, its label the sign of x; all inputs are there."""
    helper, kinds = onnx.helper, {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
    kinds["int64"] = onnx.TensorProto.INT64
    first = spec.inputs[0].name
    constants = {name: np.array([i], np.int64) for name, i in (("zero", 0), ("one", 1), ("three", 3), ("four", 4))}
    nodes = [
        helper.make_node("Slice", [first, "three", "four", "one"], ["intensity"]),
        helper.make_node("Squeeze", ["intensity", "one"], ["scores"]),
        helper.make_node("Slice", [first, "zero", "one", "one"], ["x"]),
        helper.make_node("Squeeze", ["x", "one"], ["flat"]),
        helper.make_node("Sign", ["flat"], ["sign"]),
        helper.make_node("Cast", ["sign"], ["labels"], to=onnx.TensorProto.INT64),
    ]
    inputs, outputs = (
        [
            helper.make_tensor_value_info(
                t.name, kinds[t.dtype.name], [axis if isinstance(axis, int) else axis.name for axis in t.shape]
            )
            for t in tensors
        ]
        for tensors in (spec.inputs, spec.output_tensors)
    )
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "rows", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def model(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    write_model(tmp_path / "model.onnx", network(request.param), request.param)
    return tmp_path / "model.onnx"


def backends(model: Path, folder: Path) -> list[Backend]:
    runtime = FakeRuntime()
    trt = make_trt(runtime)
    engine = TensorRtBackend(model, cache=EngineCache(folder), trt=trt, runtime=runtime)
    return [open_backend(model, num_threads=1), engine]


@pytest.mark.parametrize("model", [POINTS], indirect=True, ids=["points"])
def test_each_kept_point_gets_its_row_without_the_padding(model: Path, tmp_path: Path) -> None:
    for backend in backends(model, tmp_path):
        for number in (700, 300, 700, 301):
            points = np.random.default_rng(number).uniform(-3.9, 2.9, (number, 5)).astype(np.float32)
            index = group_pillars(points, backend.spec.pillars)
            found = backend.infer(index.tensors())
            np.testing.assert_array_equal(found["scores"], index.points[:, 3])
            np.testing.assert_array_equal(found["labels"], np.sign(index.points[:, 0]).astype(np.int64))


@pytest.mark.parametrize("model", [VOXELS], indirect=True, ids=["voxels"])
def test_each_point_of_a_voxel_model_gets_its_row_without_the_padding(model: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for backend in backends(model, tmp_path):
        for number in (700, 300, 301):
            points = random.uniform(-3.9, 2.9, (number, 5)).astype(np.float32)
            found = backend.infer(group_cloud(points, backend.spec).tensors())
            np.testing.assert_array_equal(found["scores"], points[:, 3])


@pytest.mark.parametrize("model", [POINTS, VOXELS], indirect=True, ids=["points", "voxels"])
def test_the_detector_refuses_a_segmenter(model: Path) -> None:
    with pytest.raises(ModelFileError, match="is a model for segmentation; expected a detector"):
        Detector(open_backend(model))
