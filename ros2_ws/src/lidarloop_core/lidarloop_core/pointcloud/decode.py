"""sensor_msgs/PointCloud2 bytes → columns, of rclpy's messages and of rosbags' (duck-typed)."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.pointcloud.encode import POINT_FIELD_TYPES
from lidarloop_core.pointcloud.guard import NO_LIMITS, GuardedPoints, Limits, guard_points

OTHER_NAMES = {"intensity": ("reflectivity", "i", "intensities")}
"""Column → names of fields that are read as it where a cloud has no field of its own name."""


def field_of(column: str, names: Sequence[str]) -> str:
    """The field of those in a cloud that a column is read from; the column's own name where there is none.

    Args:
        column: the column.
        names: the cloud's fields.
    """
    return next((name for name in (column, *OTHER_NAMES.get(column, ())) if name in names), column)


@dataclass(eq=False)  # not frozen: that would double the time of making one
class PointColumns:
    """A cloud's columns as views of the message's own bytes.

    Attributes:
        array: (height, width) structured array with the message's fields; nothing is copied, so writing to it writes
            to the message.
    """

    array: npt.NDArray[np.void]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, in the message's order."""
        return self.array.dtype.names or ()

    def __len__(self) -> int:
        return self.array.size

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """One column, (N,) or (N, count), copied only if a cloud's rows are padded; raises CloudFormatError."""
        if name not in self.names:
            raise CloudFormatError(
                f"cloud has no field '{name}'; found {_listed(self.names)}. Check the driver's fields"
            )
        column: npt.NDArray[Any] = self.array[name]
        return column.reshape(self.array.size, *column.shape[2:])


def decode_cloud(msg: Any) -> PointColumns:
    """Views a PointCloud2 as named columns, without copying.

    Fields in any order, at any offset, of any datatype and count, padded points and rows, either byte order and
    organised clouds are read.

    Args:
        msg: message with ``height width fields is_bigendian point_step row_step data``; ``data`` any buffer of bytes.

    Raises:
        CloudFormatError: the layout contradicts itself: a field outside its point, rows that overlap, too few or too
            many bytes, an unknown datatype, or a field named twice.
    """
    if not hasattr(msg, "point_step"):
        raise CloudFormatError(
            f"received a {type(msg).__name__}; expected a sensor_msgs/msg/PointCloud2: name its topic"
        )
    data = _bytes_of(msg.data)
    height, width, point_step, row_step = msg.height, msg.width, msg.point_step, msg.row_step
    fields = tuple([(f.name, f.offset, f.datatype, f.count) for f in msg.fields])
    is_sound = height >= 0 and width >= 0 and point_step >= 0 and row_step >= width * point_step
    if not is_sound or len(data) != height * row_step:
        raise _size_error(height, width, point_step, row_step, len(data))
    if width == 0 or height == 0:
        return PointColumns(np.empty((0, 0), _point_dtype(fields, msg.is_bigendian, None)))
    dtype = _point_dtype(fields, msg.is_bigendian, point_step)
    return PointColumns(np.ndarray((height, width), dtype, buffer=data, strides=(row_step, point_step)))


def read_points(msg: Any, columns: Sequence[str], limits: Limits = NO_LIMITS) -> GuardedPoints:
    """Reads some columns of a PointCloud2 as one float32 array, a copy, of what ``guard_points`` leaves.

    Args:
        msg: message, as for ``decode_cloud``.
        columns: names of the columns in order; the first three are x, y, z. A column that the cloud does not have is
            read from a field of another name, see ``OTHER_NAMES``.
        limits: limits of single columns.

    Raises:
        CloudFormatError: a column is missing or holds several values per point, or the layout contradicts itself.
    """
    return guard_points(raw_points(decode_cloud(msg), columns), columns, limits)


def raw_points(cloud: PointColumns, columns: Sequence[str], num_further: int = 0) -> npt.NDArray[np.float32]:
    """Some columns of a decoded cloud as one float32 array, a copy; nothing is left out.

    Args:
        cloud: the cloud.
        columns: names of the columns in order; the first three are x, y, z.
        num_further: number of columns F, with any values, that the array has room for after these.

    Returns:
        (N, C + F) float32.

    Raises:
        CloudFormatError: a column is missing or holds several values per point, or the layout contradicts itself.
    """
    assert tuple(columns[:3]) == ("x", "y", "z")
    names = cloud.names
    columns = [column if column in names else field_of(column, names) for column in columns]
    _require_columns(cloud, columns)
    points = np.empty((len(cloud), len(columns) + num_further), np.float32)
    if not _copy_float32_block(cloud.array, columns, points):
        with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes inf and is dropped later
            for i, name in enumerate(columns):
                points[:, i] = cloud[name]
    return points


def _copy_float32_block(array: npt.NDArray[np.void], columns: Sequence[str], points: npt.NDArray[np.float32]) -> bool:
    """Fills the first columns of (N, C or more) points if they lie side by side as little-endian float32."""
    fields = array.dtype.fields
    assert fields is not None
    start = int(fields[columns[0]][1])
    if any(fields[name][:2] != (_FLOAT32, start + 4 * i) for i, name in enumerate(columns)):
        return False
    # One opaque item per point: numpy then moves a point at once, ten times faster than four floats at a stride.
    layout = _with_one_item(4 * len(columns), start, array.dtype.itemsize)
    filled = _with_one_item(4 * len(columns), 0, points.shape[1] * 4)
    points.view(filled)["item"].reshape(array.shape)[...] = array.view(layout)["item"]
    return True


def _with_one_item(num_bytes: int, offset: int, itemsize: int) -> np.dtype[np.void]:
    return np.dtype({"names": ["item"], "formats": [f"V{num_bytes}"], "offsets": [offset], "itemsize": itemsize})


_FLOAT32 = np.dtype("<f4")


def _require_columns(cloud: PointColumns, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in cloud.names]
    if missing:
        raise CloudFormatError(
            f"cloud lacks field {', '.join(missing)}; found {_listed(cloud.names)}, expected {', '.join(columns)}. "
            "Configure the driver to publish it, or rename it there"
        )
    several = [name for name in columns if cloud.array.dtype[name].shape]
    if several:
        raise CloudFormatError(f"cloud has several values per point in {', '.join(several)}; expected one (count 1)")


def _size_error(height: int, width: int, point_step: int, row_step: int, num_bytes: int) -> CloudFormatError:
    if min(height, width, point_step, row_step) < 0:
        return CloudFormatError(
            f"cloud received height {height}, width {width}, point_step {point_step}, row_step {row_step}; "
            "expected none below 0. Check the driver"
        )
    if row_step < width * point_step:
        return CloudFormatError(
            f"cloud received row_step {row_step}; expected at least width × point_step = {width} × {point_step} = "
            f"{width * point_step} bytes. Check the driver"
        )
    return CloudFormatError(
        f"cloud received {num_bytes} bytes of data; expected height × row_step = {height} × {row_step} = "
        f"{height * row_step}. Check the driver's width, point_step and row_step"
    )


_Fields = tuple[tuple[str, int, int, int], ...]
"""(name, offset, datatype, count) of each field."""


def _point_dtype(fields: _Fields, is_bigendian: bool, point_step: int | None) -> np.dtype[np.void]:
    """The structured dtype of one point; ``point_step`` is None where there is no point to fit into."""
    # What is kept is bounded by its size, not by number alone: a layout may be of any size.
    is_small = len(fields) <= 64 and sum(len(name) for name, *_ in fields) <= 2048
    return (_cached_point_dtype if is_small else _new_point_dtype)(fields, is_bigendian, point_step)


def _new_point_dtype(fields: _Fields, is_bigendian: bool, point_step: int | None) -> np.dtype[np.void]:
    if not fields:
        raise CloudFormatError("cloud has no fields; expected at least x, y, z. Check the driver")
    names = [name for name, *_ in fields]
    if "" in names or len(set(names)) != len(names):
        raise CloudFormatError(
            f"cloud received {len(names)} fields named {_listed(names)}; expected distinct names. Check the driver"
        )
    layouts = [_field_layout(field, is_bigendian, point_step) for field in fields]
    itemsize = max(end for _, end in layouts) if point_step is None else point_step
    return np.dtype(
        {
            "names": names,
            "formats": [code for code, _ in layouts],
            "offsets": [offset for _, offset, *_ in fields],
            "itemsize": itemsize,
        }
    )


_cached_point_dtype = lru_cache(maxsize=64)(_new_point_dtype)  # a sensor's layout stays the same from cloud to cloud


_REPR = reprlib.Repr()
_REPR.maxstring = 40


def _listed(names: Sequence[str]) -> str:
    """Names for a message, whatever a driver may send: the first of many, the beginning of long ones."""
    shown = [name if name.isprintable() and 0 < len(name) <= 40 else _REPR.repr(name) for name in names[:16]]
    return ", ".join(shown) + (f", … ({len(names)} in all)" if len(names) > len(shown) else "")


def _field_layout(field: tuple[str, int, int, int], is_bigendian: bool, point_step: int | None) -> tuple[Any, int]:
    """A field's numpy format, and the byte of the point where it ends."""
    name, offset, datatype, count = _listed(field[:1]), *field[1:]
    code = POINT_FIELD_TYPES.get(datatype)
    if code is None:
        raise CloudFormatError(
            f"cloud field '{name}' has datatype {datatype}; expected 1 (INT8) … 8 (FLOAT64). Check the driver"
        )
    count = count or 1  # some drivers leave it at 0 and mean 1, as PCL reads it
    end = offset + count * int(code[1])
    limit = _MAX_POINT_SIZE if point_step is None else point_step
    if offset < 0 or count < 0 or end > limit:
        raise CloudFormatError(
            f"cloud field '{name}' received bytes {offset}…{end} of a point; expected them within point_step {limit}. "
            "Check the driver's offset, count and point_step"
        )
    scalar = (">" if is_bigendian else "<") + code
    return (scalar if count == 1 else (scalar, (count,))), end


# Bytes. In a cloud without points nothing else bounds what the fields may claim.
_MAX_POINT_SIZE = 2**16


def _bytes_of(data: Any) -> npt.NDArray[np.uint8]:
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError):
        raise CloudFormatError(
            f"cloud received data of type {type(data).__name__}; "
            "expected contiguous bytes (bytes, array('B'), uint8 array)"
        ) from None
