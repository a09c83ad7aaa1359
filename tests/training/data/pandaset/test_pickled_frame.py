"""Frames that pandas wrote (``pickles``: 1.5.3 on NumPy 1.26, 2.2.3 on NumPy 2.4; protocols 5, 2), and hostile ones."""

from __future__ import annotations

import gzip
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_training.data.pandaset.pickled_frame import read_frame
from tests.training.data.pandaset.fixture import write_frame

PICKLES = Path(__file__).parent / "pickles"


@pytest.mark.parametrize("version", ["1.5.3", "2.2.3"])
def test_frames_of_pandas_are_read(version: str) -> None:
    mixed = read_frame(PICKLES / f"mixed_pandas{version}.pkl.gz")
    assert list(mixed.columns) == [
        *("uuid", "label", "yaw", "stationary", "camera_used", "cuboids.sensor_id", "attributes.object_motion"),
    ]
    assert mixed.columns["uuid"].tolist() == ["a-1", "b-2", "c-3"]
    assert mixed.columns["label"].tolist() == ["Car", "Pedestrian", "Cones"]
    np.testing.assert_array_equal(mixed.columns["yaw"], [0.25, -1.5, 3.0])
    assert mixed.columns["stationary"].tolist() == [True, False, True]
    np.testing.assert_array_equal(mixed.columns["camera_used"], [-1, 2, np.nan])
    np.testing.assert_array_equal(mixed.columns["cuboids.sensor_id"], [-1, 0, 1])
    assert mixed.columns["attributes.object_motion"].tolist()[:2] == ["Parked", "Moving"]
    assert mixed.index.tolist() == [0, 1, 2]
    indexed = read_frame(PICKLES / f"indexed_pandas{version}.pkl.gz")
    assert {name: values.tolist() for name, values in indexed.columns.items()} == {
        "x": [1.5, 2.5],
        "y": [-1.0, 0.0],
        "d": [0, 1],
    }
    assert indexed.index.tolist() == [7, 3]


def test_frames_of_older_pandas_are_read(tmp_path: Path) -> None:
    columns = {
        "label": np.array(["Car", "Bus"], dtype=object),
        "x": np.array([1.0, 2.0]),
        "n": np.array([3, 4]),
        "y": np.array([5.0, 6.0]),
    }
    write_frame(tmp_path / "frame.pkl.gz", columns)
    frame = read_frame(tmp_path / "frame.pkl.gz")
    assert list(frame.columns) == ["label", "x", "n", "y"]
    for name, values in columns.items():
        np.testing.assert_array_equal(frame.columns[name], values)
    assert len(frame) == 2


class _Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (_Calls(os.system, "touch ran"), "asks for posix.system"),
        (_Calls(eval, "open('ran', 'w')"), r"asks for builtins\.eval"),
        (_Calls(getattr, "", "join"), r"asks for builtins\.getattr"),
        (OrderedDict(a=1), r"asks for collections\.OrderedDict"),
        ({"x": [1.0]}, "received a dict"),
        (np.zeros(3), "received a _Reconstructed"),
    ],
)
def test_what_is_no_frame_is_refused_and_never_run(
    value: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(value, protocol=4)))
    with pytest.raises(DatasetError, match=expected):
        read_frame(path)
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.pkl.gz"
    with pytest.raises(DatasetError, match=r"bad\.pkl\.gz: cannot be read"):
        read_frame(path)
    good = (PICKLES / "mixed_pandas1.5.3.pkl.gz").read_bytes()
    for damaged in (good[: len(good) // 2], b"not gzip", gzip.compress(b""), gzip.compress(b"\x80\x05.")):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"bad\.pkl\.gz"):
            read_frame(path)


def test_any_damaged_byte_is_read_or_refused(tmp_path: Path) -> None:
    """No other error than DatasetError comes out, whichever byte of the pickle is another one."""
    path = tmp_path / "frame.pkl.gz"
    data = gzip.decompress((PICKLES / "mixed_pandas1.5.3.pkl.gz").read_bytes())
    rng = np.random.default_rng(0)
    num_refused = 0
    for place in rng.choice(len(data), 200, replace=False):
        damaged = bytearray(data)
        damaged[place] = rng.integers(256)
        path.write_bytes(gzip.compress(bytes(damaged), compresslevel=1))
        try:
            read_frame(path)
        except DatasetError:
            num_refused += 1
    assert num_refused > 50
