from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.errors import ModelFileError
from lidarloop_core.model.model_file import read_model
from lidarloop_core.model.outputs import Detection, Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid, VoxelGrid, VoxelLevel
from tests.builders import make_spec

VERSION_1 = {
    "name": "old",
    "class_names": ["car", "pedestrian"],
    "point_columns": ["x", "y", "z", "intensity"],
    "intensity_scale": 1,
    "x_range_m": [-8, 8.0],
    "y_range_m": [-4.0, 4.0],
    "z_range_m": [-5.0, 3.0],
    "pillar_size_m": [0.5, 0.25],
    "max_points_per_pillar": 5,
    "max_pillars": 64,
    "num_sweeps": 1,
    "sweep_interval_s": 0.1,
    "max_detections": 6,
    "lidar_height_m": 1.84,
    "yaw_rule": "counter-clockwise from +x, radians, length along the heading (REP-103)",
    "version": 1,
}


def voxel_segmenter() -> ModelSpec:
    grid = VoxelGrid(
        (-8.0, 8.0), (-4.0, 4.0), (-5.0, 3.0), (0.1, 0.1, 0.2), 9000, (VoxelLevel(4000), VoxelLevel(800, (1, 1, 2)))
    )
    return dataclasses.replace(make_spec(), grid=grid, outputs=Segmentation(), training_intensity=tuple(range(11)))


RIG = CameraRig(("FRONT", "BACK"), 200, 112, 8, (1.0, 51.0), 50, 2)


def fused() -> ModelSpec:
    return dataclasses.replace(make_spec(), cameras=RIG)


@pytest.mark.parametrize("make", [make_spec, voxel_segmenter, fused])
def test_json_round_trip(make: Callable[[], ModelSpec]) -> None:
    spec = make()
    text = spec.to_json()
    assert ModelSpec.from_json(text) == spec
    assert ModelSpec.from_json(text).to_json() == text
    assert "\n" not in text
    # A checkpoint's config holds the fields as they are.
    assert ModelSpec.from_json(json.dumps(dataclasses.asdict(spec))) == spec


def test_json_is_nested_and_typed() -> None:
    raw = json.loads(make_spec().to_json())
    assert raw["version"] == 2
    assert raw["grid"]["kind"] == "pillars"
    assert raw["outputs"] == {"kind": "detection", "max_detections": 6}


def test_equal_specs_give_equal_text() -> None:
    given_otherwise = make_spec(x_range_m=[-8, 8], z_range_m=(-5, 3), lidar_height_m=-0.0)
    assert given_otherwise == make_spec(lidar_height_m=0)
    assert given_otherwise.to_json() == make_spec(lidar_height_m=0).to_json()


def test_a_file_of_version_1_is_read_and_written_as_version_2() -> None:
    spec = ModelSpec.from_json(json.dumps(VERSION_1))
    assert spec == ModelSpec(
        name="old",
        class_names=("car", "pedestrian"),
        point_columns=("x", "y", "z", "intensity"),
        intensity_scale=1.0,
        grid=PillarGrid((-8.0, 8.0), (-4.0, 4.0), (-5.0, 3.0), (0.5, 0.25), 5, 64),
        outputs=Detection(6),
        num_sweeps=1,
        sweep_interval_s=0.1,
        lidar_height_m=1.84,
    )
    written = spec.to_json()
    assert json.loads(written)["version"] == 2
    assert ModelSpec.from_json(written) == spec
    deciles = [float(v) for v in range(11)]
    assert ModelSpec.from_json(json.dumps(VERSION_1 | {"training_intensity": deciles})).training_intensity[-1] == 10.0


def test_the_shipped_model_is_of_version_1_and_is_read(repository: Path) -> None:
    path = repository / "models/pillar-toytown.onnx"
    assert b'"version": 1, "x_range_m"' in path.read_bytes()
    spec = read_model(path).spec
    assert spec.pillars.shape == (256, 256)
    assert spec.detection.max_detections == 200
    assert len(spec.training_intensity) == 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"point_columns": ("x", "z", "y")}, "expected x, y, z first"),
        ({"class_names": ()}, "expected 1 to 1000 values"),
        ({"class_names": ("car", "car")}, "expected distinct names"),
        ({"class_names": ("car", "a\nb")}, "expected a printable text"),
        ({"class_names": (1, 2)}, "ModelSpec.class_names received 1; expected a printable text"),
        ({"name": "../up"}, "expected a name that can be a file's"),
        ({"name": ".."}, "expected a name that can be a file's"),
        ({"intensity_scale": math.nan}, "ModelSpec.intensity_scale received nan"),
        ({"intensity_scale": -1.0}, "ModelSpec.intensity_scale received -1.0"),
        ({"num_sweeps": 2.5}, "ModelSpec.num_sweeps received 2.5; expected a whole number from 1 to 100"),
        ({"num_sweeps": 10**9}, "ModelSpec.num_sweeps received 1000000000"),
        ({"sweep_interval_s": 0.0}, "ModelSpec.sweep_interval_s received 0.0"),
        ({"lidar_height_m": None}, "ModelSpec.lidar_height_m received None; expected a number from -100 to 100"),
        ({"yaw_rule": "clockwise"}, "ModelSpec.yaw_rule received 'clockwise'"),
        ({"training_intensity": (1.0,)}, "none, or 11 ascending deciles"),
        ({"training_intensity": tuple(range(11, 0, -1))}, "none, or 11 ascending deciles"),
        ({"max_detections": 0}, "Detection.max_detections received 0"),
        ({"max_pillars": 10**9}, "PillarGrid.max_pillars received 1000000000"),
    ],
)
def test_impossible_specs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        make_spec(**change)


@pytest.mark.parametrize("change", [{"grid": None}, {"outputs": 7}])
def test_parts_of_another_type_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="expected"):
        dataclasses.replace(make_spec(), **change)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"version": 3}', '{"version": 1}', '{"version": true}'])
def test_text_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match="export the model again"):
        ModelSpec.from_json(text)


def test_a_field_too_many_or_missing_is_named() -> None:
    raw = json.loads(make_spec().to_json())
    for given_fields, message in (
        ({**raw, "voxel_size": 1}, "ModelSpec received fields .*voxel_size"),
        ({**raw, "grid": {**raw["grid"], "voxel_size": 1}}, "ModelSpec.grid received fields .*voxel_size"),
        ({k: v for k, v in raw.items() if k != "num_sweeps"}, "ModelSpec received fields .*num_sweeps"),
        ({**raw, "grid": {**raw["grid"], "kind": "cubes"}}, "ModelSpec.grid.kind received 'cubes'; expected 'pillars'"),
        ({**raw, "grid": {**raw["grid"], "kind": "voxels"}}, "ModelSpec.grid received fields"),
        ({**raw, "outputs": []}, "ModelSpec.outputs.kind"),
        ({**VERSION_1, "grid": {}}, "received fields .*grid"),
        ({**VERSION_1, "max_pillars": "many"}, "PillarGrid.max_pillars received 'many'"),
    ):
        with pytest.raises(ModelFileError, match=message):
            ModelSpec.from_json(json.dumps(given_fields))


def test_a_models_kind_is_asked_for() -> None:
    other = voxel_segmenter()
    with pytest.raises(ModelFileError, match="is a model on voxels; expected one on pillars"):
        _ = other.pillars
    with pytest.raises(ModelFileError, match="is a model for segmentation; expected a detector"):
        _ = other.detection


ODD_NUMBERS = st.sampled_from(
    (0, -1, 1e9, 10**9, 10**400, 2.5, math.nan, math.inf, -math.inf, 1e-320, True, None, "", "car", "\ud800")
)
ODD_VALUES = st.recursive(
    ODD_NUMBERS | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("kind", "version", "a")), inner),
    max_leaves=8,
)


def paths(value: Any, start: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where each part of a JSON value lies."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [start, *(path for key, inner in items for path in paths(inner, (*start, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


WHOLE = [json.loads(make_spec().to_json()), json.loads(voxel_segmenter().to_json()), VERSION_1]
PLACES = [(raw, path) for raw in WHOLE for path in paths(raw)]


def read_or_refuse(text: str) -> None:
    """Reading gives a spec that is written and read again as the same, or one error."""
    message, spec = "", None
    try:
        spec = ModelSpec.from_json(text)
    except ModelFileError as error:
        message = str(error)
    if spec is None:
        assert 0 < len(message) < 1500
        assert "\n" not in message
        return
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.inputs
    assert spec.output_tensors


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.sampled_from(PLACES), ODD_VALUES)
def test_any_value_anywhere_gives_a_spec_or_one_error(place: tuple[Any, tuple[Any, ...]], value: Any) -> None:
    raw, path = place
    read_or_refuse(json.dumps(replaced(raw, path, value)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ODD_VALUES | st.dictionaries(st.sampled_from((*VERSION_1, *WHOLE[0])), ODD_VALUES))
def test_any_json_gives_a_spec_or_one_error(value: Any) -> None:
    read_or_refuse(json.dumps(value))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=50))
def test_any_text_gives_one_error(text: str) -> None:
    with pytest.raises(ModelFileError):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"version": ' * 100_000,
        '{"version": 2, "grid": ' + "[" * 900 + "]" * 900 + "}",
        '{"version": ' + "9" * 5000 + "}",
        json.dumps({**VERSION_1, "class_names": [["a"] * 1000] * 1000}),
        json.dumps({**VERSION_1, "x" * 10_000: 1}),
    ],
    ids=["nested", "nested objects", "nested grid", "a long number", "many names", "a long key"],
)
def test_excessive_json_gives_one_error(text: str) -> None:
    with pytest.raises(ModelFileError) as error:
        ModelSpec.from_json(text)
    assert len(str(error.value)) < 1500


def test_a_model_without_cameras_names_none() -> None:
    """So an older lidarloop reads it."""
    assert "cameras" not in json.loads(make_spec().to_json())
    assert json.loads(fused().to_json())["cameras"]["names"] == ["FRONT", "BACK"]


def test_a_model_on_cameras_alone_takes_no_points() -> None:
    spec = dataclasses.replace(make_spec(), cameras=dataclasses.replace(RIG, takes_points=False))
    assert [tensor.name for tensor in spec.inputs] == ["images", "lift_places", "lift_rows", "lift_cells"]
    assert [tensor.name for tensor in fused().inputs][:4] == ["points", "slot", "cell", "count"]
    assert str(fused().inputs[4]) == "images uint8 [2, 112, 200, 3]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ()}, "CameraRig.names"),
        ({"names": ("FRONT", "FRONT")}, "distinct names"),
        ({"width": 201}, "a whole number of cells each way"),
        ({"depth_range_m": (5.0, 5.0)}, "the nearer end first"),
        ({"num_depths": 0}, "CameraRig.num_depths"),
        ({"map_stride": 5}, "a number that divides it each way"),
        ({"takes_points": 1}, "true or false"),
    ],
)
def test_cameras_out_of_bounds_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        dataclasses.replace(make_spec(), cameras=dataclasses.replace(RIG, **change))


def test_a_segmenter_takes_no_cameras() -> None:
    with pytest.raises(ModelFileError, match="expected a detector"):
        dataclasses.replace(voxel_segmenter(), cameras=RIG)
