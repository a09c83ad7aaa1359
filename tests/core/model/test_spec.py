from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from lidarloop_core.errors import ModelFileError
from lidarloop_core.model.spec import ModelSpec


def test_json_round_trip(spec: ModelSpec) -> None:
    text = spec.to_json()
    assert ModelSpec.from_json(text) == spec
    assert ModelSpec.from_json(text).to_json() == text
    assert "\n" not in text


def test_grid_size_is_columns_along_x_and_rows_along_y(spec: ModelSpec) -> None:
    assert spec.grid_size == (32, 16)
    # 102.4 / 0.4 is 255.99999999999997 in floating point.
    wide = dataclasses.replace(spec, x_range_m=(-51.2, 51.2), y_range_m=(-51.2, 51.2), pillar_size_m=(0.4, 0.4))
    assert wide.grid_size == (256, 256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"point_columns": ("x", "z", "y")}, "expected x, y, z first"),
        ({"x_range_m": (8.0, -8.0)}, "expected a whole number of cells"),
        ({"y_range_m": (-4.0, 4.1)}, r"y range \(-4.0, 4.1\) m with cells of 0.5 m \(16.2 cells\)"),
        ({"pillar_size_m": (-0.5, 0.5)}, "expected a whole number of cells"),
        ({"max_pillars": 0}, "max_pillars=0; expected at least 1"),
        ({"class_names": ()}, "expected distinct names"),
        ({"class_names": ("car", "car")}, "expected distinct names"),
    ],
)
def test_impossible_specs_are_refused(spec: ModelSpec, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        dataclasses.replace(spec, **change)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"version": 2}', '{"version": 1}'])
def test_text_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match="export the model again"):
        ModelSpec.from_json(text)


def test_a_field_too_many_or_of_the_wrong_type_is_refused(spec: ModelSpec) -> None:
    raw = json.loads(spec.to_json())
    with pytest.raises(ModelFileError, match="voxel_size"):
        ModelSpec.from_json(json.dumps({**raw, "voxel_size": 1}))
    with pytest.raises(ModelFileError, match="wrong type"):
        ModelSpec.from_json(json.dumps({**raw, "max_pillars": "many"}))


def test_a_file_without_what_is_optional_is_read(spec: ModelSpec) -> None:
    assert "training_intensity" not in spec.to_json(), "older readers refuse fields they do not know"
    assert ModelSpec.from_json(spec.to_json()).training_intensity == ()
    deciles = tuple(float(v) for v in range(11))
    with_deciles = dataclasses.replace(spec, training_intensity=deciles)
    assert ModelSpec.from_json(with_deciles.to_json()) == with_deciles


@pytest.mark.parametrize("deciles", [(1.0,), tuple(range(11, 0, -1))])
def test_deciles_of_another_number_or_order_are_refused(spec: ModelSpec, deciles: tuple[float, ...]) -> None:
    with pytest.raises(ModelFileError, match="11 ascending deciles"):
        dataclasses.replace(spec, training_intensity=deciles)
