"""Small detectors with a closed form, for tests of the node."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from tests.builders import make_spec, value_infos

CLASS_NAMES = ("car", "pedestrian", "barrier")
SPEC = make_spec(
    name="mean-of-pillar",
    class_names=CLASS_NAMES,
    x_range_m=(-40.0, 40.0),
    y_range_m=(-40.0, 40.0),
    z_range_m=(-5.0, 5.0),
    cell_size_m=(2.0, 2.0),
    max_points_per_pillar=8,
    max_pillars=1600,
    num_sweeps=1,
    max_detections=20,
    lidar_height_m=1.8,
)
HALVED = {"stride": (2, 2, 2), "kernel": (2, 2, 2), "padding": (0, 0, 0)}
SPECS = {
    "pillars": SPEC,
    "voxels": dataclasses.replace(
        SPEC,
        name="mean-of-voxel",
        grid=VoxelGrid(
            x_range_m=(-40.0, 40.0),
            y_range_m=(-40.0, 40.0),
            z_range_m=(-5.0, 5.0),
            cell_size_m=(2.0, 2.0, 2.5),
            capacity=1600,
            levels=(
                VoxelLevel(1600, **HALVED),
                VoxelLevel(1600, stride=(1, 1, 1), kernel=(1, 1, 2), padding=(0, 0, 0)),
            ),
        ),
    ),
}
"""Two models of the same classes; cells of both are 2 × 2 m."""


def mean_of_pillar_onnx(spec: ModelSpec, *, busy_layers: int = 0) -> bytes:
    """A network with a closed form: box i is the mean of pillar i's points.

    (x, y, z) is their mean position, vx their mean dt, vy their mean intensity; size 0.5 × 0.5 × 1.5 m, yaw 0.5 rad;
    score = points / capacity; label = points mod classes. With cameras, the mean of all bytes of the pictures over 255
    is added to vx, and the number of cells of the map that get a feature to vy. ``busy_layers`` makes it slow, without
    another result.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    capacity, columns = spec.pillars.max_points_per_pillar, len(spec.point_columns)
    k = spec.detection.max_detections
    constants: dict[str, npt.NDArray[Any]] = {
        "capacity": np.array([capacity], np.int64),
        "capacity_f": np.array(capacity, np.float32),
        "columns": np.array([columns], np.int64),
        "pillar_shape": np.array([-1, capacity, columns], np.int64),
        "last": np.array([-1], np.int64),
        "one": np.array([1], np.int64),
        "zero": np.array([0], np.int64),
        "k": np.array([k], np.int64),
        "three": np.array([3], np.int64),
        "four": np.array([4], np.int64),
        "five": np.array([5], np.int64),
        "size_yaw": np.array([[0.5, 0.5, 1.5, 0.5]], np.float32),
        "num_classes": np.array(len(spec.class_names), np.int64),
        "pad_boxes": np.zeros((k, 9), np.float32),
        "pad_scores": np.zeros(k, np.float32),
        "pad_labels": np.zeros(k, np.int64),
        "weights": np.full((512, 512), 1e-3, np.float32),
        "nought": np.array(0.0, np.float32),
    }
    node = helper.make_node
    of_cameras = []
    intensity, dt = "intensity", "dt"
    if spec.cameras is not None:
        intensity, dt = "intensity_of_points", "dt_of_points"
        constants |= {"full_byte": np.array(255, np.float32), "axis": np.array([0], np.int64)}
        of_cameras = [
            node("Cast", ["images"], ["bytes"], to=TensorProto.FLOAT),
            node("ReduceMean", ["bytes"], ["brightness"], keepdims=0),
            node("Div", ["brightness", "full_byte"], ["share"]),
            node("Add", [dt, "share"], ["dt"]),
            node("Cast", ["lift_cells"], ["cells_f"], to=TensorProto.FLOAT),
            node("Sign", ["cells_f"], ["is_lit"]),
            node("ReduceSum", ["is_lit", "axis"], ["num_lit"], keepdims=0),
            node("Add", [intensity, "num_lit"], ["intensity"]),
        ]
    nodes = [
        node("Shape", ["cell"], ["num_pillars"]),
        node("Mul", ["num_pillars", "capacity"], ["num_slots"]),
        node("Concat", ["num_slots", "columns"], ["canvas_shape"], axis=0),
        node("ConstantOfShape", ["canvas_shape"], ["canvas"]),
        node("Unsqueeze", ["slot", "last"], ["slot_index"]),
        node("ScatterND", ["canvas", "slot_index", "points"], ["filled"]),
        node("Reshape", ["filled", "pillar_shape"], ["pillars"]),
        node("ReduceSum", ["pillars", "one"], ["sums"], keepdims=0),
        node("Cast", ["count"], ["count_f"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["count_f", "last"], ["count_column"]),
        node("Div", ["sums", "count_column"], ["means"]),
        node("Slice", ["means", "zero", "three", "one"], ["center"]),
        node("Slice", ["means", "three", "four", "one"], [intensity]),
        node("Slice", ["means", "four", "five", "one"], [dt]),
        *of_cameras,
        node("Concat", ["num_pillars", "four"], ["size_shape"], axis=0),
        node("Expand", ["size_yaw", "size_shape"], ["size_yaws"]),
        node("Concat", ["center", "size_yaws", "dt", "intensity"], ["all_boxes"], axis=1),
        node("ReduceMax", ["points"], ["work0_scale"], keepdims=0),
        node("Mul", ["weights", "work0_scale"], ["work0"]),
        *(node("MatMul", [f"work{i}", "weights"], [f"work{i + 1}"]) for i in range(busy_layers)),
        node("ReduceMax", [f"work{busy_layers}"], ["worked"], keepdims=0),
        node("Mul", ["worked", "nought"], ["naught"]),
        node("Add", ["all_boxes", "naught"], ["worked_boxes"]),
        node("Concat", ["worked_boxes", "pad_boxes"], ["padded_boxes"], axis=0),
        node("Slice", ["padded_boxes", "zero", "k", "zero"], ["boxes"]),
        node("Div", ["count_f", "capacity_f"], ["all_scores"]),
        node("Concat", ["all_scores", "pad_scores"], ["padded_scores"], axis=0),
        node("Slice", ["padded_scores", "zero", "k", "zero"], ["scores"]),
        node("Mod", ["count", "num_classes"], ["all_labels"]),
        node("Concat", ["all_labels", "pad_labels"], ["padded_labels"], axis=0),
        node("Slice", ["padded_labels", "zero", "k", "zero"], ["labels"]),
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, spec.name, value_infos(spec.inputs), value_infos(spec.output_tensors), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def mean_of_voxel_onnx(spec: ModelSpec) -> bytes:
    """A network with a closed form: box i is the mean of voxel i's points, as of ``mean_of_pillar_onnx``.

    Score = 1 − |x| / 50 m; label = ⌊intensity / 75⌋ mod classes.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    k = spec.detection.max_detections
    constants: dict[str, npt.NDArray[Any]] = {
        **{str(i): np.array([i], np.int64) for i in (0, 1, 3, 4, 5, k)},
        "nought": np.zeros((1, 4), np.float32),
        "size_yaw": np.array([[0.5, 0.5, 1.5, 0.5]], np.float32),
        "full_score": np.array(1, np.float32),
        "no_score_m": np.array(50, np.float32),
        "step": np.array(75, np.float32),
        "num_classes": np.array(len(spec.class_names), np.int64),
        "pad_boxes": np.zeros((k, 9), np.float32),
        "pad_scores": np.zeros(k, np.float32),
        "pad_labels": np.zeros(k, np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Slice", ["voxels", "0", "3", "1"], ["center"]),
        node("Slice", ["voxels", "3", "4", "1"], ["intensity"]),
        node("Slice", ["voxels", "4", "5", "1"], ["dt"]),
        node("Slice", ["voxels", "0", "1", "1"], ["x"]),
        node("Mul", ["x", "nought"], ["naught"]),
        node("Add", ["naught", "size_yaw"], ["size_yaws"]),
        node("Concat", ["center", "size_yaws", "dt", "intensity"], ["all_boxes"], axis=1),
        node("Squeeze", ["x", "1"], ["x_of_voxel"]),
        node("Abs", ["x_of_voxel"], ["far_m"]),
        node("Div", ["far_m", "no_score_m"], ["far"]),
        node("Sub", ["full_score", "far"], ["all_scores"]),
        node("Squeeze", ["intensity", "1"], ["intensity_of_voxel"]),
        node("Div", ["intensity_of_voxel", "step"], ["steps"]),
        node("Floor", ["steps"], ["whole_steps"]),
        node("Cast", ["whole_steps"], ["step_number"], to=TensorProto.INT64),
        node("Mod", ["step_number", "num_classes"], ["all_labels"]),
    ]
    for name in ("boxes", "scores", "labels"):
        nodes.append(node("Concat", [f"all_{name}", f"pad_{name}"], [f"padded_{name}"], axis=0))
        nodes.append(node("Slice", [f"padded_{name}", "0", str(k), "0"], [name]))
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, spec.name, value_infos(spec.inputs), value_infos(spec.output_tensors), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
