"""Components of Waymo Open Dataset v2: one Parquet file per component and segment, read with pyarrow.

A file's columns are keys (``key.frame_timestamp_micros``, …) and fields under the component's name
(``[LiDARComponent].range_image_return1.values``). The names, types and shapes are those of the published v2 classes;
of real files only ``vehicle_pose`` was seen. Other columns, such as the ``index`` of the released files, are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import regular_file
from lidarloop_training import arrow_columns

_MOST_BYTES = 1 << 40  # mapped, not read

SEGMENT = "key.segment_context_name"
STAMP = "key.frame_timestamp_micros"
LASER = "key.laser_name"
CAMERA = "key.camera_name"
OBJECT = "key.laser_object_id"

_BATCH_ROWS = 5  # a frame's lasers or cameras; more would only hold more range images in memory


def component_path(root: Path, tag: str, segment: str) -> Path:
    """Where a component of a segment lies."""
    return root / tag / f"{segment}.parquet"


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Whole columns of a component, for those that are small.

    Raises:
        DatasetError: the file is missing, is no Parquet file, lacks a column, is of another segment, or has a row
            without a key.
    """
    file = _open(path, columns)
    try:
        table = file.read(columns=[SEGMENT, *columns], use_threads=False)  # type: ignore[no-untyped-call]
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from None
    _check_segment(path, table.column(SEGMENT))
    for name in columns:
        if name in (STAMP, LASER, CAMERA, OBJECT):
            arrow_columns.require(table.column(name), "texts" if name == OBJECT else "whole numbers", path, name)
    return table.select(list(columns))


class RowReader:
    """Single rows of a component whose rows are too large to hold all of a file in memory.

    Released files have few row groups of many rows, and Parquet has no way into the middle of one. So rows are
    streamed, a few at a time: frames read in order cost what they hold, a jump costs decoding what it jumps over, and
    memory holds a few rows whatever the file's size. Not for several threads at once.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Opens the file.

        Raises:
            DatasetError: the file is missing, is no Parquet file, or lacks a column.
        """
        self.path = path
        self._columns = list(columns)
        file = _open(path, columns)
        group_sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._group_starts = np.concatenate([[0], np.cumsum(group_sizes)]).astype(np.int64)
        self._stream: Iterator[pa.RecordBatch] | None = None
        self._batch: pa.RecordBatch | None = None
        self._batch_start = 0
        self._stream_end = 0

    def __getstate__(self) -> dict[str, Any]:
        """Without the open stream: another process opens its own."""
        return {**self.__dict__, "_stream": None, "_batch": None, "_batch_start": 0, "_stream_end": 0}

    def row(self, number: int) -> dict[str, Any]:
        """Column → scalar of one row.

        Raises:
            DatasetError: the file is damaged there.
        """
        try:
            batch = self._batch_with(number)
        except (pa.ArrowException, OSError, StopIteration) as error:
            raise _broken(self.path, error) from None
        place = number - self._batch_start
        return {name: batch.column(name)[place] for name in self._columns}

    def _batch_with(self, number: int) -> pa.RecordBatch:
        assert 0 <= number < self._group_starts[-1]
        if self._stream is None or not self._batch_start <= number < self._stream_end:
            group = int(np.searchsorted(self._group_starts, number, side="right")) - 1
            self._stream = _stream(self.path, group, self._columns)
            self._batch_start, self._batch = int(self._group_starts[group]), next(self._stream)
            self._stream_end = int(self._group_starts[group + 1])
        assert self._batch is not None
        while number >= self._batch_start + len(self._batch):
            self._batch_start += len(self._batch)
            self._batch = next(self._stream)
        return self._batch


def _open(path: Path, columns: Sequence[str]) -> pq.ParquetFile:
    if not path.is_file():
        raise DatasetError(
            f"{path}: is missing; expected the component {path.parent.name!r} of this segment beside the others: "
            "download it"
        )
    try:
        regular_file.require(path, _MOST_BYTES)
        file = pq.ParquetFile(path, memory_map=True)  # type: ignore[no-untyped-call]
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from None
    missing = [name for name in (SEGMENT, *columns) if name not in file.schema_arrow.names]
    if missing:
        raise DatasetError(
            f"{path}: lacks the columns {', '.join(missing)}; expected the component {path.parent.name!r} of Waymo "
            "Open Dataset v2: restore the file"
        )
    return file


def _stream(path: Path, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(path, memory_map=True)  # type: ignore[no-untyped-call]
    batches: Iterator[pa.RecordBatch]
    batches = file.iter_batches(_BATCH_ROWS, [group], columns, use_threads=False)  # type: ignore[no-untyped-call]
    return batches


def _check_segment(path: Path, names: pa.ChunkedArray) -> None:
    foreign = {str(name) for name in names.unique().to_pylist()} - {path.stem}
    if foreign:
        raise DatasetError(
            f"{path}: holds rows of segment {sorted(foreign)[0]}; expected those of {path.stem} alone: restore the file"
        )


def _broken(path: Path, error: Exception) -> DatasetError:
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DatasetError(f"{path}: cannot be read as Parquet ({what}); it is truncated or damaged: restore the file")
