"""What derives from a model's tensors: sizes, buckets, shape profiles; for pillars and for voxels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import bucket_for, capacity, dimensions, names, profile_shapes, sizes_of
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_core.pointcloud.grouping import group_pillars

LARGEST = {"num_points": 320_000, "num_pillars": 16_000}


@pytest.fixture
def voxels(spec: ModelSpec) -> ModelSpec:
    grid = VoxelGrid(
        x_range_m=(-8.0, 8.0),
        y_range_m=(-4.0, 4.0),
        z_range_m=(-5.0, 3.0),
        cell_size_m=(0.1, 0.1, 0.2),
        capacity=9000,
        levels=(
            VoxelLevel(4000),
            VoxelLevel(800, stride=(1, 1, 4), kernel=(1, 1, 4), padding=(0, 0, 0)),
            VoxelLevel(500, stride=(1, 1, 1), kernel=(1, 1, 5), padding=(0, 0, 0)),
        ),
    )
    return dataclasses.replace(spec, grid=grid)


@settings(deadline=None)
@given(st.integers(1, 320_000), st.integers(1, 16_000))
def test_a_bucket_holds_its_cloud_and_wastes_at_most_a_quarter(num_points: int, num_pillars: int) -> None:
    sizes = {"num_points": num_points, "num_pillars": num_pillars}
    bucket = bucket_for(sizes, LARGEST)
    for name, number in sizes.items():
        assert number <= bucket[name] <= LARGEST[name]
        assert bucket[name] <= max(1.25 * number, number + 256)
    assert bucket_for(bucket, LARGEST) == bucket


def test_there_are_few_buckets() -> None:
    assert len({bucket_for({"num_points": n}, LARGEST)["num_points"] for n in range(1, 320_001, 7)}) < 40


def test_a_bucket_ends_at_the_capacity() -> None:
    largest = {"num_points": 100, "num_pillars": 32}
    assert bucket_for({"num_points": 90, "num_pillars": 30}, largest) == largest


@pytest.mark.parametrize("number", [1, 255, 256, 257, 2048, 2049])
def test_bucket_edges(number: int) -> None:
    size = bucket_for({"num_points": number}, LARGEST)["num_points"]
    assert size % 256 == 0
    assert size >= number


def test_grouping_gives_the_tensors_of_its_spec(spec: ModelSpec) -> None:
    points = np.random.default_rng(0).normal(0, (4, 2, 1, 30, 0.1), (200, 5)).astype(np.float32)
    index = group_pillars(points, spec.pillars)
    assert list(index.tensors()) == list(names(spec.inputs)) == ["points", "slot", "cell", "count"]
    sizes = sizes_of(spec.inputs, index.tensors())
    assert sizes == {"num_points": len(index.points), "num_pillars": len(index.cell)}


def test_capacity_is_that_of_the_grid(spec: ModelSpec) -> None:
    assert capacity(spec.inputs) == {"num_points": 64 * 5, "num_pillars": 64}
    more = dataclasses.replace(spec, grid=dataclasses.replace(spec.pillars, max_pillars=10_000))
    assert capacity(more.inputs) == {"num_points": 512 * 5, "num_pillars": 512}, "the grid has 512 cells"


def test_shape_profile_reaches_from_one_row_to_the_capacity(spec: ModelSpec, voxels: ModelSpec) -> None:
    assert profile_shapes(spec.inputs) == {
        "points": ((1, 5), (53, 5), (320, 5)),
        "slot": ((1,), (53,), (320,)),
        "cell": ((1,), (32,), (64,)),
        "count": ((1,), (32,), (64,)),
    }
    assert profile_shapes(voxels.inputs)["neighbours_1"] == ((1, 27), (2000, 27), (4000, 27))
    assert profile_shapes(voxels.inputs)["cells"] == ((3200, 1),) * 3


def test_arrays_that_are_not_the_graphs_are_refused(spec: ModelSpec) -> None:
    good = group_pillars(np.zeros((3, 5), np.float32), spec.pillars).tensors()
    wrong = (
        ({"slot": good["slot"].astype(np.int32)}, r"received int32 \[3\]; expected slot int64 \[num_points\]"),
        ({"points": good["points"][:, :4]}, r"float32 \[3, 4\]; expected points float32 \[num_points, 5\]"),
        ({"slot": good["slot"][:2]}, "received 2 rows of slot; expected 3, as of the other inputs along num_points"),
    )
    for change, message in wrong:
        with pytest.raises(BackendError, match=message):
            sizes_of(spec.inputs, {**good, **change})
    with pytest.raises(BackendError, match="received no such tensor; expected points"):
        sizes_of(spec.inputs, {})


def test_a_voxel_model_takes_a_table_for_each_level(voxels: ModelSpec) -> None:
    assert [str(tensor) for tensor in voxels.inputs] == [
        "voxels float32 [num_voxels_0, 5]",
        "neighbours_0 int32 [num_voxels_0, 27]",
        "strided_1 int32 [num_voxels_1, 27]",
        "neighbours_1 int32 [num_voxels_1, 27]",
        "strided_2 int32 [num_voxels_2, 4]",
        "neighbours_2 int32 [num_voxels_2, 27]",
        "strided_3 int32 [num_voxels_3, 5]",
        "cells int32 [3200, 1]",
    ]
    levels = {"num_voxels_0": 9000, "num_voxels_1": 4000, "num_voxels_2": 800, "num_voxels_3": 500}
    assert capacity(voxels.inputs) == levels


def test_a_segmenter_on_voxels_takes_points_and_the_way_back(voxels: ModelSpec) -> None:
    grid = dataclasses.replace(voxels.grid, levels=voxels.grid.levels[:1])
    assert [str(tensor) for tensor in dataclasses.replace(voxels, grid=grid, outputs=Segmentation()).inputs] == [
        "points float32 [num_points, 5]",
        "voxel_of_point int32 [num_points]",
        "voxels float32 [num_voxels_0, 5]",
        "neighbours_0 int32 [num_voxels_0, 27]",
        "strided_1 int32 [num_voxels_1, 27]",
        "inverse_1 int32 [num_voxels_0, 27]",
        "neighbours_1 int32 [num_voxels_1, 27]",
    ]


@pytest.mark.parametrize("gives_points", [False, True])
def test_voxel_grouping_gives_the_tensors_of_its_spec(voxels: ModelSpec, gives_points: bool) -> None:
    spec = dataclasses.replace(voxels, outputs=Segmentation()) if gives_points else voxels
    points = np.random.default_rng(0).normal(0, (4, 2, 1, 30, 0.1), (200, 5)).astype(np.float32)
    found = group_cloud(points, spec)
    assert list(found.tensors()) == list(names(spec.inputs))
    sizes = sizes_of(spec.inputs, found.tensors())
    assert sizes["num_voxels_0"] == found.num_cells
    assert not group_cloud(points + np.float32(100), spec).num_cells
    empty = group_cloud(points + np.float32(100), spec)
    assert empty.is_empty
    assert sizes_of(spec.inputs, empty.tensors())["num_voxels_0"] == 1


def test_a_detector_on_voxels_ends_in_a_map(voxels: ModelSpec) -> None:
    with pytest.raises(ModelFileError, match="last level 5 layers high; expected levels down to one layer"):
        dataclasses.replace(voxels, grid=dataclasses.replace(voxels.grid, levels=voxels.grid.levels[:2]))


def test_a_segmenter_gives_a_row_for_each_row_of_its_first_input(spec: ModelSpec, voxels: ModelSpec) -> None:
    for model, rows in ((spec, "num_points"), (voxels, "num_points")):
        outputs = dataclasses.replace(model, outputs=Segmentation()).output_tensors
        assert [str(tensor) for tensor in outputs] == [f"scores float32 [{rows}]", f"labels int64 [{rows}]"]
        assert [d.name for d in dimensions(outputs)] == [rows]
