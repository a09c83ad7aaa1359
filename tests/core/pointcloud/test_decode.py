"""PointCloud2 decoding against a reader that unpacks one value after another with ``struct``."""

from __future__ import annotations

import math
import struct
from array import array
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.pointcloud.decode import _cached_point_dtype, decode_cloud, read_points
from lidarloop_core.pointcloud.encode import encode_points

STRUCT_CODES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Field:
    name: str
    offset: int
    datatype: int
    count: int = 1


@dataclass(frozen=True)
class Cloud:
    """A PointCloud2 by its attributes alone, so that also impossible ones can be made."""

    fields: list[Field]
    point_step: int
    width: int
    data: Any = field(repr=False)
    height: int = 1
    row_step: int = -1
    is_bigendian: bool = False
    is_dense: bool = True

    def __post_init__(self) -> None:
        if self.row_step == -1:
            object.__setattr__(self, "row_step", self.width * self.point_step)


def oracle(cloud: Cloud, columns: tuple[str, ...]) -> tuple[list[list[float]], int]:
    """Reads point by point, value by value; gives rows, and the number of points at (0, 0, 0) or not finite."""
    order = ">" if cloud.is_bigendian else "<"
    named = {f.name: f for f in cloud.fields}
    data = bytes(cloud.data)
    rows, num_dropped = [], 0
    for r in range(cloud.height if cloud.width else 0):
        for c in range(cloud.width):
            start = r * cloud.row_step + c * cloud.point_step
            row = [
                struct.unpack_from(order + STRUCT_CODES[named[n].datatype], data, start + named[n].offset)[0]
                for n in columns
            ]
            if any(row[:3]) and all(math.isfinite(v) and abs(np.float64(v)) <= FLOAT32_MAX for v in row):
                rows.append(row)
            else:
                num_dropped += 1
    return rows, num_dropped


def assert_agrees(cloud: Cloud, columns: tuple[str, ...]) -> None:
    rows, num_dropped = oracle(cloud, columns)
    found = read_points(cloud, columns)
    with np.errstate(over="ignore"):
        expected = np.array(rows, np.float64).reshape(-1, len(columns)).astype(np.float32)
    np.testing.assert_array_equal(found.points, expected)
    assert found.points.dtype == np.float32
    assert found.points.flags.c_contiguous
    assert found.num_dropped == num_dropped


@st.composite
def clouds(draw: st.DrawFn) -> tuple[Cloud, tuple[str, ...]]:
    """A valid cloud in any layout, and columns to read from it."""
    extras = draw(st.lists(st.sampled_from(["intensity", "ring", "time", "rgb", "normal"]), unique=True, max_size=4))
    names = draw(st.permutations(["x", "y", "z", *extras]))
    # Mostly float32 positions, as in reality; the rest of the types must work too.
    position = st.one_of(st.just(7), st.sampled_from(sorted(STRUCT_CODES)))
    tight = draw(st.booleans())
    fields, end = [], 0
    for name in names:
        datatype = draw(position if name in "xyz" else st.sampled_from(sorted(STRUCT_CODES)))
        count = 3 if name == "normal" else 1
        end += 0 if tight else draw(st.integers(0, 5))
        fields.append(Field(name, end, datatype, count))
        end += count * struct.calcsize(STRUCT_CODES[datatype])
    point_step = end + (0 if tight else draw(st.integers(0, 9)))
    height, width = draw(st.integers(0, 3)), draw(st.integers(0, 7))
    row_step = width * point_step + (0 if tight else draw(st.integers(0, 11)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = bytearray(random.bytes(height * row_step))
    cloud = Cloud(fields, point_step, width, data, height, row_step, draw(st.booleans()))
    _write_special_values(cloud, random)
    wrap = draw(st.sampled_from([bytes, memoryview, lambda b: array("B", b), lambda b: np.frombuffer(b, np.uint8)]))
    singles = [f.name for f in fields if f.name not in "xyz" and f.count == 1]
    columns = ("x", "y", "z", *draw(st.permutations(singles)))
    return replace(cloud, data=wrap(bytes(data))), columns


def _write_special_values(cloud: Cloud, random: np.random.Generator) -> None:
    """Random bytes are seldom NaN: puts NaN, infinities and huge values at random places, and plain ones at most."""
    order = ">" if cloud.is_bigendian else "<"
    special = [1.5, -2.25, 0.0, 3.0, 7.0, math.nan, math.inf, -math.inf, 1e300, FLOAT32_MAX]
    for f in cloud.fields:
        if f.datatype not in (7, 8) or f.count != 1:
            continue
        for i in range(cloud.height * cloud.width):
            r, c = divmod(i, cloud.width)
            value = special[random.integers(len(special))]
            if f.datatype == 7 and value == 1e300:
                value = FLOAT32_MAX
            start = r * cloud.row_step + c * cloud.point_step + f.offset
            struct.pack_into(order + STRUCT_CODES[f.datatype], cloud.data, start, value)


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(clouds())
def test_any_layout_reads_as_the_per_value_reader(case: tuple[Cloud, tuple[str, ...]]) -> None:
    assert_agrees(*case)


@st.composite
def corrupted_clouds(draw: st.DrawFn) -> tuple[Cloud, tuple[str, ...]]:
    """A valid cloud with one or two lies in it."""
    cloud, columns = draw(clouds())
    numbers = st.one_of(st.integers(-2, 40), st.sampled_from([2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63]))
    for what in draw(st.lists(st.sampled_from(["number", "field", "data", "fields"]), min_size=1, max_size=2)):
        if what == "number":
            name = draw(st.sampled_from(["height", "width", "point_step", "row_step"]))
            cloud = replace(cloud, **{name: draw(numbers)})
        elif what == "field" and cloud.fields:
            i = draw(st.integers(0, len(cloud.fields) - 1))
            name = draw(st.sampled_from(["offset", "datatype", "count", "name"]))
            value: Any = draw(st.sampled_from(["x", "", "y", "λ"])) if name == "name" else draw(numbers)
            changed = replace(cloud.fields[i], **{name: value})
            cloud = replace(cloud, fields=[*cloud.fields[:i], changed, *cloud.fields[i + 1 :]])
        elif what == "data":
            data = bytes(cloud.data)
            size = draw(st.integers(0, len(data) + 40))
            cloud = replace(cloud, data=(data + bytes(40))[:size])
        elif what == "fields":
            cloud = replace(cloud, fields=cloud.fields[: draw(st.integers(0, len(cloud.fields)))])
    return cloud, columns


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(corrupted_clouds())
def test_lying_metadata_is_refused_or_was_harmless(case: tuple[Cloud, tuple[str, ...]]) -> None:
    cloud, columns = case
    try:
        read_points(cloud, columns)
    except CloudFormatError:
        return
    assert_agrees(cloud, columns)


def xyz_cloud(points: np.ndarray) -> Cloud:
    fields = [Field(n, 4 * i, 7) for i, n in enumerate("xyz")]
    return Cloud(fields, 12, len(points), points.astype("<f4").tobytes())


def test_decoding_copies_nothing() -> None:
    data = bytearray(xyz_cloud(np.arange(12.0).reshape(4, 3)).data)
    cloud = replace(xyz_cloud(np.zeros((4, 3))), data=data)
    columns = decode_cloud(cloud)
    struct.pack_into("<f", data, 12 + 4, 99.0)
    assert columns["y"][1] == 99.0
    assert len(columns) == 4
    assert columns.names == ("x", "y", "z")


def test_read_points_are_their_own_copy() -> None:
    data = bytearray(np.ones((4, 3), "<f4").tobytes())
    found = read_points(replace(xyz_cloud(np.zeros((4, 3))), data=data), ("x", "y", "z"))
    data[:] = bytes(len(data))
    assert (found.points == 1).all()


def test_a_cloud_of_no_points_gives_no_rows() -> None:
    found = read_points(xyz_cloud(np.zeros((0, 3))), ("x", "y", "z"))
    assert found.points.shape == (0, 3)
    assert found.num_dropped == 0


def test_points_without_a_finite_position_are_dropped_and_counted() -> None:
    points = np.array([[1, 0, 0], [np.nan, 0, 0], [1, np.inf, 1], [2, 2, 2]])
    found = read_points(xyz_cloud(points), ("x", "y", "z"))
    np.testing.assert_array_equal(found.points, points[[0, 3]])
    assert (found.num_no_position, found.num_dropped, found.problem) == (2, 2, "")


def test_a_value_that_is_not_finite_in_any_column_read_drops_its_point_and_is_named() -> None:
    ones = np.ones(3)
    vx, other = np.array([np.nan, 1.0, np.inf]), np.array([1.0, np.nan, 1.0])
    layout = encode_points({"x": ones, "y": ones, "z": ones, "vx": vx, "other": other})
    cloud = Cloud([Field(*f) for f in layout.fields], layout.point_step, 3, layout.data)
    found = read_points(cloud, ("x", "y", "z", "vx"))
    np.testing.assert_array_equal(found.points, np.ones((1, 4)))
    assert (found.num_not_finite, found.num_dropped, found.num_received) == (2, 2, 3)
    assert found.problem == "2 points left out, vx is NaN or infinite: check the driver"


def test_positions_near_the_limit_of_float32_stay() -> None:
    """Their sum overflows, which must not be taken for a value that is not finite."""
    points = np.full((5, 3), FLOAT32_MAX)
    found = read_points(xyz_cloud(points), ("x", "y", "z"))
    assert found.num_dropped == 0
    np.testing.assert_array_equal(found.points, points.astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fields": [Field("x", 0, 7), Field("y", 4, 7)]}, "lacks field z; found x, y"),
        ({"fields": []}, "no fields"),
        ({"point_step": 8}, r"field 'z' received bytes 8…12 of a point; expected them within point_step 8"),
        ({"row_step": 20}, "row_step 20; expected at least width × point_step = 2 × 12 = 24"),
        ({"data": bytes(23)}, "received 23 bytes of data; expected height × row_step = 1 × 24 = 24"),
        ({"data": bytes(25)}, "received 25 bytes of data"),
        ({"data": [0] * 24}, "received data of type list; expected contiguous bytes"),
        ({"width": 3}, "row_step 24; expected at least width × point_step = 3 × 12 = 36"),
        ({"fields": [Field("x", 0, 9)]}, r"field 'x' has datatype 9; expected 1 \(INT8\) … 8 \(FLOAT64\)"),
        ({"fields": [Field("x", 0, 7), Field("x", 4, 7)]}, "2 fields named x, x; expected distinct"),
        ({"fields": [Field("x", 0, 7, 3), Field("y", 4, 7), Field("z", 8, 7)]}, "several values per point in x"),
    ],
)
def test_refusals_name_what_was_received_and_expected(change: dict[str, Any], message: str) -> None:
    cloud = replace(xyz_cloud(np.zeros((2, 3))), **change)
    with pytest.raises(CloudFormatError, match=message):
        read_points(cloud, ("x", "y", "z"))


def test_an_unknown_column_is_refused_by_name() -> None:
    with pytest.raises(CloudFormatError, match="no field 'ring'; found x, y, z"):
        decode_cloud(xyz_cloud(np.zeros((1, 3))))["ring"]


def test_a_huge_layout_is_named_in_short_and_not_cached() -> None:
    before = _cached_point_dtype.cache_info().currsize
    names = [f"{i:05d}" * 200 for i in range(10_000)]
    cloud = Cloud([Field(name, 0, 7) for name in names], 4, 1, bytes(4))
    for received in (cloud, replace(cloud, fields=[*cloud.fields, cloud.fields[0]])):
        with pytest.raises(CloudFormatError) as refused:
            read_points(received, ("x", "y", "z"))
        assert len(str(refused.value)) < 2000
        assert "10000" in str(refused.value) or "10001" in str(refused.value)
    assert _cached_point_dtype.cache_info().currsize == before


def test_rosbags_messages_are_read() -> None:
    from lidarloop_core.io.bag import message_type
    from lidarloop_core.io.messages import cloud_message

    x = np.arange(1, 4, dtype=np.float32)
    message = cloud_message({"x": x, "y": x + 1, "z": x + 2}, 5, "lidar", message_type)
    np.testing.assert_array_equal(read_points(message, ("x", "y", "z")).points, np.stack([x, x + 1, x + 2], axis=1))


@pytest.mark.parametrize("name", ["reflectivity", "i", "intensities"])
def test_intensity_is_read_from_a_field_of_another_name(name: str) -> None:
    ones = np.ones(3, np.float32)
    layout = encode_points({"x": ones, "y": ones, "z": ones, name: np.array([1, 2, 3], np.uint16)})
    fields = [Field(*each) for each in layout.fields]
    cloud = Cloud(fields, layout.point_step, layout.num_points, layout.data)
    np.testing.assert_array_equal(read_points(cloud, ("x", "y", "z", "intensity")).points[:, 3], [1, 2, 3])
    both = encode_points({"x": ones, "y": ones, "z": ones, name: ones, "intensity": 7 * ones})
    cloud = Cloud([Field(*each) for each in both.fields], both.point_step, both.num_points, both.data)
    np.testing.assert_array_equal(read_points(cloud, ("x", "y", "z", "intensity")).points[:, 3], [7, 7, 7])
