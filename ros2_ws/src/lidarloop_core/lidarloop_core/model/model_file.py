"""One file is the model: an ONNX file with its ``ModelSpec`` and a seal over every byte.

Both are ``metadata_props`` of the ONNX ``ModelProto``. Protobuf defines that messages may be concatenated, so they are
appended as bytes; the result is valid ONNX for every reader, and no onnx package is needed on the vehicle:

    network … | metadata_props "lidarloop.spec" = JSON | metadata_props "lidarloop.sha256" = hash of all bytes before it
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lidarloop_core.errors import ModelFileError
from lidarloop_core.io import atomic, regular_file
from lidarloop_core.model.spec import ModelSpec

SPEC_KEY = "lidarloop.spec"
SHA256_KEY = "lidarloop.sha256"
PRECISION_KEY = "lidarloop.precision"
"""Written by ``lidarloop optimise``; a file without it is as it was exported: fp32."""

MAX_BYTES = (1 << 31) - 1
"""The largest message that protobuf, and so ONNX, allows."""

_METADATA_PROPS = 14  # field number in onnx.ModelProto
_LENGTH_DELIMITED = 2  # protobuf wire type
_FIXED_SIZES = {1: 8, 5: 4}  # wire type → bytes of its value


@dataclass(frozen=True)
class ModelFile:
    """A model file whose seal was verified.

    Attributes:
        spec: the contract found inside.
        onnx_bytes: all bytes of the file, which is ONNX.
        sha256: hex hash of these bytes, for provenance.
        precision: arithmetic of the network: ``fp32``, ``fp16`` or ``int8``; default ``fp32``.
    """

    spec: ModelSpec
    onnx_bytes: bytes
    sha256: str
    precision: str = "fp32"


def seal(onnx_bytes: bytes, spec: ModelSpec) -> bytes:
    """The model file's bytes: ``onnx_bytes``, the spec, and the hash of both.

    Raises:
        ModelFileError: the bytes are not an ONNX model, or are sealed already.
    """
    if SPEC_KEY in _metadata(onnx_bytes, "seal"):
        raise ModelFileError(
            "seal received a model that has a spec already; expected the network alone: export it again"
        )
    with_spec = onnx_bytes + _metadata_entry(SPEC_KEY, spec.to_json())
    return with_spec + _seal_of(with_spec)


def write_model(path: Path, onnx_bytes: bytes, spec: ModelSpec) -> str:
    """Writes a model file atomically and gives its sha256; raises ModelFileError as ``seal`` does."""
    data = seal(onnx_bytes, spec)
    atomic.write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def read_model(path: Path) -> ModelFile:
    """Reads a model file and verifies its seal.

    Raises:
        ModelFileError: missing, no regular file, above ``MAX_BYTES``, not ONNX, not made by ``lidarloop export``,
            truncated, or changed by one bit or more.
    """
    try:
        data = regular_file.read_bytes(Path(path), MAX_BYTES)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read ({error.strerror}); expected a model.onnx made by `lidarloop export`"
        ) from None
    metadata = _verified_metadata(data, str(path))
    return ModelFile(
        spec=ModelSpec.from_json(metadata[SPEC_KEY]),
        onnx_bytes=data,
        sha256=hashlib.sha256(data).hexdigest(),
        precision=metadata.get(PRECISION_KEY, "fp32"),
    )


def _verified_metadata(data: bytes, name: str) -> dict[str, str]:
    body, found = data[:-_SEAL_SIZE], data[-_SEAL_SIZE:]
    if found == _seal_of(body):
        return _metadata(data, name)
    if found.startswith(_SEAL_START) or SPEC_KEY in _metadata(data, name):
        raise ModelFileError(f"{name} is corrupt: its bytes do not match its seal. Copy it again, or export it again")
    raise ModelFileError(
        f"{name} is an ONNX model without a ModelSpec; expected one made by `lidarloop export`: export it with that"
    )


def _metadata(data: bytes, name: str) -> dict[str, str]:
    """The metadata_props of an ONNX file, found by walking the top level of the protobuf message."""
    try:
        entries = [_fields(value) for number, value in _walk(data) if number == _METADATA_PROPS]
        if not data or all(number != 7 for number, _ in _walk(data)):  # 7 is the graph
            raise ValueError("no graph inside")
        return {entry[1].decode(): entry.get(2, b"").decode() for entry in entries}
    except (ValueError, KeyError) as error:
        raise ModelFileError(
            f"{name} is no ONNX model, or only a part of one ({error}); "
            "expected a model.onnx made by `lidarloop export`: copy it again"
        ) from None


def _fields(data: bytes) -> dict[int, bytes]:
    return dict(_walk(data))


def _walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(field number, bytes) of each length-delimited field of a protobuf message; others are passed over.

    Raises:
        ValueError: the bytes are no such message, or end within a field.
    """
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            _, position = _read_varint(data, position)
            continue
        if wire_type == _LENGTH_DELIMITED:
            size, position = _read_varint(data, position)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise ValueError(f"unknown wire type {wire_type} at byte {position}")
        if position + size > len(data) or number == 0:
            raise ValueError(f"field {number} ends beyond the file")
        if wire_type == _LENGTH_DELIMITED:
            yield number, data[position : position + size]
        position += size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, position + i + 1
    raise ValueError("a number is cut short")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _length_delimited(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def _metadata_entry(key: str, value: str) -> bytes:
    return _length_delimited(_METADATA_PROPS, _length_delimited(1, key.encode()) + _length_delimited(2, value.encode()))


def _seal_of(data: bytes) -> bytes:
    return _metadata_entry(SHA256_KEY, hashlib.sha256(data).hexdigest())


_SEAL_SIZE = len(_seal_of(b""))
_SEAL_START = _seal_of(b"")[: _SEAL_SIZE - 64]
