from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.pointcloud.decode import decode_cloud
from lidarloop_core.pointcloud.encode import CloudLayout, encode_points

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]


def as_message(layout: CloudLayout) -> SimpleNamespace:
    return SimpleNamespace(
        height=1,
        width=layout.num_points,
        fields=[SimpleNamespace(name=n, offset=o, datatype=d, count=1) for n, o, d in layout.fields],
        is_bigendian=False,
        point_step=layout.point_step,
        row_step=len(layout.data),
        data=layout.data,
    )


@given(st.data(), st.integers(0, 5), st.lists(st.sampled_from(DTYPES), min_size=1, max_size=8))
def test_decoding_gives_back_every_column(data: st.DataObject, num_points: int, dtypes: list[str]) -> None:
    columns = {f"c{i}": data.draw(hnp.arrays(dtype, num_points)) for i, dtype in enumerate(dtypes)}
    decoded = decode_cloud(as_message(encode_points(columns)))
    assert decoded.names == tuple(columns)
    for name, values in columns.items():
        assert decoded[name].dtype == values.dtype
        np.testing.assert_array_equal(decoded[name], values)


def test_values_are_aligned_and_padding_is_zero() -> None:
    layout = encode_points({"ring": np.array([0xFFFF], np.uint16), "x": np.array([1.0], np.float32)})
    assert layout.fields == (("ring", 0, 4), ("x", 4, 7))
    assert layout.point_step == 8
    assert layout.data == b"\xff\xff\x00\x00" + np.float32(1).tobytes()


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"x": np.zeros(2), "y": np.zeros(3)},
        {"x": np.zeros((2, 2))},
        {"x": np.zeros(2, np.int64)},
        {"x": np.zeros(2, np.float16)},
        {"x": np.zeros(2, bool)},
    ],
)
def test_what_a_cloud_cannot_hold_is_refused(columns: dict[str, np.ndarray]) -> None:
    with pytest.raises(CloudFormatError, match=r"expected|PointCloud2 has"):
        encode_points(columns)
