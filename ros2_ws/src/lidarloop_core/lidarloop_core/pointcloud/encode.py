"""Named columns → the bytes and field table of a sensor_msgs/PointCloud2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import CloudFormatError

# sensor_msgs/PointField.datatype → numpy kind and size.
POINT_FIELD_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_DATATYPE_OF = {code: datatype for datatype, code in POINT_FIELD_TYPES.items()}


@dataclass(frozen=True)
class CloudLayout:
    """The bytes of a PointCloud2 message and their layout.

    Attributes:
        fields: (name, offset in bytes, PointField datatype) of each column; every count is 1.
        point_step: bytes from one point to the next.
        num_points: number of points N.
        data: N × point_step bytes of points, little-endian; padding is zero.
    """

    fields: tuple[tuple[str, int, int], ...]
    point_step: int
    num_points: int
    data: bytes


def encode_points(columns: Mapping[str, npt.NDArray[Any]]) -> CloudLayout:
    """Interleaves columns into one unorganised cloud, each value aligned to its own size.

    Args:
        columns: name → (N,) array; 8-, 16- or 32-bit integers, or 32- or 64-bit floats.

    Raises:
        CloudFormatError: no columns, columns of different lengths, or a dtype that PointCloud2 does not have.
    """
    lengths = {name: np.shape(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise CloudFormatError(f"encode_points received columns of shapes {lengths}; expected (N,) each, with one N")
    codes = {name: f"{values.dtype.kind}{values.dtype.itemsize}" for name, values in columns.items()}
    unknown = [f"{name} ({columns[name].dtype})" for name, code in codes.items() if code not in _DATATYPE_OF]
    if unknown:
        raise CloudFormatError(
            f"encode_points received {', '.join(unknown)}; PointCloud2 has int8…int32, uint8…uint32, float32 and "
            "float64: cast them"
        )
    layout = np.dtype({"names": list(codes), "formats": [f"<{code}" for code in codes.values()]}, align=True)
    points = np.zeros(next(iter(lengths.values())), dtype=layout)
    for name, values in columns.items():
        points[name] = values
    assert layout.fields is not None
    fields = tuple((name, int(layout.fields[name][1]), _DATATYPE_OF[code]) for name, code in codes.items())
    return CloudLayout(fields, layout.itemsize, len(points), points.tobytes())
