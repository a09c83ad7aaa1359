"""Stand-in for `sensor_msgs_py.point_cloud2`: reading and making a PointCloud2, same names, signatures and results.

Anything else of the module is absent rather than approximated. Where the real package is installed, it is imported
instead of this one. The nodes decode clouds with `lidarloop_core.pointcloud`; this module is for tests and tools.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable, Sequence

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

_SCALARS = {
    PointField.INT8: np.int8,
    PointField.UINT8: np.uint8,
    PointField.INT16: np.int16,
    PointField.UINT16: np.uint16,
    PointField.INT32: np.int32,
    PointField.UINT32: np.uint32,
    PointField.FLOAT32: np.float32,
    PointField.FLOAT64: np.float64,
}


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """The structured dtype of one point; a field of several values becomes `name_0`, `name_1`, ..."""
    names, formats, offsets = [], [], []
    for field in fields:
        scalar = np.dtype(_SCALARS[field.datatype])
        for place in range(field.count):
            names.append(f"{field.name}_{place}" if field.count > 1 else field.name)
            formats.append(scalar)
            offsets.append(field.offset + place * scalar.itemsize)
    layout = {"names": names, "formats": formats, "offsets": offsets}
    return np.dtype(layout if point_step is None else {**layout, "itemsize": point_step})


def read_points(cloud: PointCloud2, field_names: Sequence[str] | None = None, skip_nans: bool = False) -> np.ndarray:
    """The points as a structured array (N,).

    Args:
        cloud: the message.
        field_names: fields to return; all when not given.
        skip_nans: leave out points with a NaN in one of the returned fields.
    """
    dtype = dtype_from_fields(cloud.fields, cloud.point_step)
    points = np.ndarray((cloud.height, cloud.width), dtype, cloud.data, strides=(cloud.row_step, cloud.point_step))
    points = points.reshape(-1)
    if cloud.is_bigendian != (sys.byteorder == "big"):
        points = points.byteswap()
    if field_names is not None:
        points = points[list(field_names)]
    if skip_nans and not cloud.is_dense:
        points = points[~np.any([np.isnan(points[name]) for name in points.dtype.names or ()], axis=0)]
    return points


def create_cloud(
    header: Header, fields: Sequence[PointField], points: np.ndarray | Sequence[Sequence[float]]
) -> PointCloud2:
    """A message of `points`: a structured array of the fields' dtype, or an (N, number of fields) array or list.

    Args:
        header: header of the message.
        fields: layout of the message.
        points: the values, in the fields' order.
    """
    dtype = dtype_from_fields(fields)
    values = np.asarray(points)
    if values.dtype != dtype:
        packed = np.zeros(len(values), dtype)
        for column, name in enumerate(dtype.names or ()):
            packed[name] = values[:, column]
        values = packed
    cloud = PointCloud2(header=header, fields=list(fields), is_bigendian=sys.byteorder == "big", is_dense=False)
    cloud.height, cloud.width = 1, len(values)
    cloud.point_step = dtype.itemsize
    cloud.row_step = cloud.point_step * cloud.width
    cloud.data = array.array("B", values.tobytes())
    return cloud
