"""The seal: any change of the file is noticed, and what is sealed is still plain ONNX."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.errors import ModelFileError
from lidarloop_core.model.model_file import read_model, seal, write_model
from lidarloop_core.model.spec import ModelSpec


@pytest.fixture
def network_bytes(network: Callable[..., bytes], six_boxes: tuple[np.ndarray, ...]) -> bytes:
    return network(*six_boxes)


def test_what_was_written_is_read(tmp_path: Path, network_bytes: bytes, spec: ModelSpec) -> None:
    path = tmp_path / "deep" / "model.onnx"
    sha256 = write_model(path, network_bytes, spec)
    found = read_model(path)
    assert found.spec == spec
    assert found.onnx_bytes == path.read_bytes()
    assert found.sha256 == sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


def test_a_sealed_file_is_still_onnx(network_bytes: bytes, spec: ModelSpec) -> None:
    onnx = pytest.importorskip("onnx")
    sealed = seal(network_bytes, spec)
    model = onnx.load_from_string(sealed)
    onnx.checker.check_model(model)
    assert model.graph == onnx.load_from_string(network_bytes).graph
    metadata = {p.key: p.value for p in model.metadata_props}
    assert ModelSpec.from_json(metadata["lidarloop.spec"]) == spec
    assert metadata["lidarloop.sha256"] == hashlib.sha256(sealed[:-86]).hexdigest()


def test_a_path_that_is_no_model_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with (tmp_path / "endless.onnx").open("wb") as file:
        file.truncate(1 << 40)
    for path, said in (
        (tmp_path / "pipe.onnx", "expected a regular file"),
        (Path("/dev/zero"), "expected a regular file"),
        (tmp_path / "endless.onnx", "1099511627776 bytes, expected at most 2147483647"),
        (tmp_path, "it is a folder"),
        (tmp_path / "missing.onnx", "No such file"),
    ):
        with pytest.raises(ModelFileError, match=said):
            read_model(path)


def test_flipping_any_bit_of_any_byte_is_noticed(tmp_path: Path, network_bytes: bytes, spec: ModelSpec) -> None:
    sealed = seal(network_bytes, spec)
    path = tmp_path / "model.onnx"
    for position in range(len(sealed)):
        flipped = bytearray(sealed)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(ModelFileError):
            read_model(path)


def test_every_truncation_is_noticed(tmp_path: Path, network_bytes: bytes, spec: ModelSpec) -> None:
    sealed = seal(network_bytes, spec)
    path = tmp_path / "model.onnx"
    for size in range(len(sealed)):
        path.write_bytes(sealed[:size])
        with pytest.raises(ModelFileError):
            read_model(path)


def test_bytes_after_the_seal_are_noticed(tmp_path: Path, network_bytes: bytes, spec: ModelSpec) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(seal(network_bytes, spec) + b"\x00")
    with pytest.raises(ModelFileError, match=r"no ONNX model, or only a part"):
        read_model(path)


def test_messages_say_what_is_wrong(tmp_path: Path, network_bytes: bytes, spec: ModelSpec) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_model(path)
    path.write_bytes(network_bytes)
    with pytest.raises(ModelFileError, match=r"without a ModelSpec; expected one made by `lidarloop export`"):
        read_model(path)
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match="no ONNX model"):
        read_model(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(ModelFileError, match="no ONNX model"):
        read_model(path)
    sealed = bytearray(seal(network_bytes, spec))
    sealed[len(network_bytes) // 2] ^= 4
    path.write_bytes(sealed)
    with pytest.raises(ModelFileError, match="corrupt: its bytes do not match its seal"):
        read_model(path)
    path.write_bytes(seal(network_bytes, spec)[:-86])
    with pytest.raises(ModelFileError, match="corrupt"):
        read_model(path)


def test_a_sealed_model_is_not_sealed_again(network_bytes: bytes, spec: ModelSpec) -> None:
    with pytest.raises(ModelFileError, match="has a spec already"):
        seal(seal(network_bytes, spec), spec)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFileError):
        read_model(path)
