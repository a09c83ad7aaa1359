"""pandas' data frames in pickles from anywhere, read without running anything of pandas, numpy or the file.

A pickle is a program that calls what it names. Here every name that pandas and numpy use to store a frame becomes a
plain record of its arguments and its state, and any other name is refused; the records are then read as data. So
neither pandas nor its version matters: frames of pandas 0.25–1.2 (a tuple of axes and blocks under ``_data`` or
``_mgr``) and of 1.3–2.x (blocks and axes as arguments) are understood. pandas 3 stores texts as Arrow arrays, which are
refused.
"""

from __future__ import annotations

import gzip
import io
import math
import pickle
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import regular_file

_MOST_PACKED_BYTES = 1 << 28
_MOST_BYTES = 1 << 30

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PickledFrame:
    """A data frame.

    Attributes:
        columns: name → (N,) values; texts and what else is no number as objects.
        index: (N,) names of the rows.
    """

    columns: dict[str, Array]
    index: Array

    def __len__(self) -> int:
        return len(self.index)


def read_frame(path: Path) -> PickledFrame:
    """A data frame that pandas wrote with ``to_pickle`` and gzip.

    Raises:
        DatasetError: the file is missing, damaged or too large, asks for anything but numbers and texts of pandas and
            numpy, or is no data frame.
    """
    try:
        packed = regular_file.read_bytes(path, _MOST_PACKED_BYTES)
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
        return _frame(_RecordingUnpickler(io.BytesIO(data)).load())
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); expected a gzip file: restore it") from None
    except Exception as error:  # a broken pickle raises nearly anything
        raise DatasetError(
            f"{path}: holds no data frame ({type(error).__name__}: {str(error)[:200]}); expected one of numbers and "
            "texts, written by pandas 0.25 to 2: restore the file, or write it anew with such a version"
        ) from None


class _Record:
    """What a pickle makes of a name that it calls: the arguments, and the state that is given to the result."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> _Record:
        record = object.__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Record): ...


class _Manager(_Record): ...


class _Block(_Record): ...


class _IndexMaker(_Record): ...


class _PlainIndex(_Record): ...


class _RangeIndex(_Record): ...


class _Reconstructed(_Record): ...


class _FromBuffer(_Record): ...


class _NdArray(_Record): ...


class _DType(_Record): ...


class _Scalar(_Record): ...


class _Slice(_Record): ...


class _Encoded(_Record): ...


_RECORDS: dict[tuple[str, str], type[_Record]] = {
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Manager,
    ("pandas._libs.internals", "_unpickle_block"): _Block,
    ("pandas.core.indexes.base", "_new_Index"): _IndexMaker,
    ("pandas.core.indexes.base", "Index"): _PlainIndex,
    ("pandas.core.indexes.numeric", "Int64Index"): _PlainIndex,
    ("pandas.core.indexes.range", "RangeIndex"): _RangeIndex,
    ("numpy", "ndarray"): _NdArray,
    ("numpy", "dtype"): _DType,
    ("builtins", "slice"): _Slice,
    ("__builtin__", "slice"): _Slice,
    ("_codecs", "encode"): _Encoded,  # how bytes are stored under protocol 2
}
for _core in ("numpy.core", "numpy._core"):
    _RECORDS[f"{_core}.multiarray", "_reconstruct"] = _Reconstructed
    _RECORDS[f"{_core}.multiarray", "scalar"] = _Scalar
    _RECORDS[f"{_core}.numeric", "_frombuffer"] = _FromBuffer


class _RecordingUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Record]:
        if (module, name) not in _RECORDS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _RECORDS[module, name]


def _frame(record: Any) -> PickledFrame:
    if not isinstance(record, _Frame):
        raise ValueError(f"received a {type(record).__name__}")
    manager = record.state["_mgr" if "_mgr" in record.state else "_data"]
    names, index, blocks = _parts(manager)
    columns: dict[str, Array] = {}
    for values, placement in blocks:
        if values.shape != (len(placement), len(index)):
            raise ValueError(f"a block of shape {values.shape} for {len(placement)} columns of {len(index)} rows")
        columns |= {str(names[place]): row for place, row in zip(placement, values, strict=True)}
    return PickledFrame({str(name): columns[str(name)] for name in names}, index)


def _parts(manager: _Manager) -> tuple[Array, Array, list[tuple[Array, list[int]]]]:
    """Names of the columns, names of the rows, and blocks: (K, N) values of the columns at K places."""
    if manager.args:  # pandas 1.3 and later
        blocks, axes = manager.args
        stored = [(block.args[0], block.args[1]) for block in blocks]
    else:
        state = manager.state[3]["0.14.1"]
        axes, stored = state["axes"], [(block["values"], block["mgr_locs"]) for block in state["blocks"]]
    names, index = (_index(axis) for axis in axes)
    return names, index, [(_array(values), _places(place, len(names))) for values, place in stored]


def _index(record: _IndexMaker) -> Array:
    kind, fields = record.args
    if kind is _RangeIndex:
        values = range(*(fields[name] for name in ("start", "stop", "step")))
        if len(values) > _MOST_BYTES // 8:
            raise ValueError(f"an index of {len(values)} rows")
        return np.array(values, dtype=np.int64)
    return _array(fields["data"])


def _places(record: Any, num_columns: int) -> list[int]:
    """The columns of a block."""
    if isinstance(record, _Slice):
        return list(range(num_columns))[slice(*record.args)]
    return [range(num_columns)[int(place)] for place in _array(record)]


def _array(record: Any) -> Array:
    if isinstance(record, _Reconstructed):
        _, shape, dtype, is_column_major, raw = record.state
        is_column_major = bool(is_column_major)
    elif isinstance(record, _FromBuffer):
        raw, dtype, shape, order = record.args
        is_column_major = order == "F"
    else:
        raise ValueError(f"received a {type(record).__name__} where an array was expected")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"an array of shape {shape}")
    kind = _dtype(dtype)
    values: Array
    if kind.hasobject:
        values = np.empty(len(raw), dtype=object)
        values[:] = [_plain(value) for value in raw]
    else:
        values = np.frombuffer(_bytes(raw), kind)
    if len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} values for an array of shape {shape}")
    return values.reshape(tuple(shape), order="F" if is_column_major else "C")


_NUMBERS = ("f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1")


def _dtype(record: _DType) -> np.dtype[Any]:
    code = record.args[0]
    if code in ("O8", "O"):
        return np.dtype(object)
    if code not in _NUMBERS:
        raise ValueError(f"received values of type {code!r}")
    return np.dtype(code).newbyteorder(">" if record.state[1] == ">" else "<")


def _plain(value: Any) -> Any:
    """An object's value: a text, a number or None."""
    if isinstance(value, _Scalar):
        dtype, raw = value.args
        return np.frombuffer(_bytes(raw), _dtype(dtype))[0].item()
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"received a {type(value).__name__} in a column of texts")
    return value


def _bytes(raw: Any) -> bytes:
    if isinstance(raw, _Encoded):
        text, encoding = raw.args
        if encoding != "latin1":
            raise ValueError(f"received bytes encoded as {encoding!r}")
        return str(text).encode("latin1")
    return bytes(raw) if isinstance(raw, bytes | bytearray) else memoryview(raw).tobytes()
