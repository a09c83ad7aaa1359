"""Kept frames that are damaged or hostile: one clear error, within bounds."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import encode_jpeg
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.labelling.selection.frame_file import KeptFrame, read_frame, read_header, write_frame
from lidarloop_core.sample import CameraImage, Sample, Sweep

POINTS = np.arange(24, dtype=np.float32).reshape(6, 4)


def kept_frame() -> KeptFrame:
    pose = SE3.from_yaw(0.2, (1.0, 0.0, 1.8))
    sweep = Sweep(POINTS, ("x", "y", "z", "intensity"), 5, pose, pose)
    picture = encode_jpeg(np.zeros((4, 6, 3), np.uint8))
    camera = CameraImage("CAM_FRONT", picture, np.eye(3), 6, 4, 5, pose, pose)
    boxes = Boxes3D(np.ones((1, 9), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), ("car",))
    labels = PseudoLabels(boxes, np.ones(1, np.float32), np.ones(1, np.int64), (("CAM_FRONT",),), ("track",))
    return KeptFrame(Sample("5", "drive", 5, (sweep,), (camera,)), labels, 0.5)


def members(path: Path) -> dict[str, bytes]:
    write_frame(path, kept_frame())
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def with_header(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = members(path)
    document = json.loads(content["frame.json"])
    change(document)
    return pack(path, {**content, "frame.json": json.dumps(document).encode()})


def test_a_compressed_archive_is_read_too(tmp_path: Path) -> None:
    path = pack(tmp_path / "f.frame.zip", members(tmp_path / "f.frame.zip"), zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(read_frame(path).sample.keyframe.points, POINTS)


@pytest.mark.parametrize("name", ["../../../../evil", "/etc/evil", "a/b", "", "..", 7])
def test_a_camera_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: Any) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["cameras"][0]["name"] = name

    with pytest.raises(DatasetError, match="no readable frame"):
        read_frame(with_header(tmp_path / "f.frame.zip", rename))


def _null_mounting(document: dict[str, Any]) -> None:
    document["sweeps"][0]["ego_SE3_lidar"] = None


def _no_rotation(document: dict[str, Any]) -> None:
    document["sweeps"][0]["ego_SE3_lidar"] = np.ones((4, 4)).tolist()


def _no_sweeps(document: dict[str, Any]) -> None:
    document["sweeps"] = []


@pytest.mark.parametrize("change", [_null_mounting, _no_rotation, _no_sweeps])
def test_headers_that_lack_a_pose_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = with_header(tmp_path / "f.frame.zip", change)
    for read in (read_frame, read_header):
        with pytest.raises(DatasetError, match="no readable frame"):
            read(path)


def test_a_header_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    content = members(tmp_path / "f.frame.zip")
    path = pack(tmp_path / "f.frame.zip", {**content, "frame.json": b"[" * 200_000 + b"]" * 200_000})
    with pytest.raises(DatasetError, match="nested too deeply"):
        read_frame(path)


def _npy(shape: str, version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    size = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + size + header + POINTS.tobytes()


@pytest.mark.parametrize(
    "data",
    [_npy("(1000000000000, 4)"), _npy("(6, 5)"), _npy("(-6, -4)"), _npy("(6, 4)", b"\x02\x00"), b"", b"\x93NUMPY\x01"],
)
def test_an_array_that_promises_other_bytes_than_there_are_is_refused(tmp_path: Path, data: bytes) -> None:
    content = members(tmp_path / "f.frame.zip")
    path = pack(tmp_path / "f.frame.zip", {**content, "sweep-00.npy": data})
    with pytest.raises(DatasetError, match="no readable frame"):
        read_frame(path)


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    content = members(tmp_path / "f.frame.zip")
    bomb = {**content, "frame.json": bytes(65 << 20)}
    path = pack(tmp_path / "f.frame.zip", bomb, zipfile.ZIP_DEFLATED)
    with pytest.raises(DatasetError, match="unpacks to more than"):
        read_header(path)


@pytest.mark.parametrize(("offset_local", "offset_central", "value"), [(6, 8, 1), (8, 10, 99), (8, 10, 12)])
def test_encryption_and_unknown_compressions_are_refused(
    tmp_path: Path, offset_local: int, offset_central: int, value: int
) -> None:
    members(path := tmp_path / "f.frame.zip")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", offset_local), (b"PK\x01\x02", offset_central)):
        at = data.find(signature)
        data[at + offset : at + offset + 2] = value.to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="no readable frame"):
        read_frame(path)


def test_every_broken_byte_of_a_deflated_frame_is_refused_or_harmless(tmp_path: Path) -> None:
    path = pack(tmp_path / "f.frame.zip", members(tmp_path / "f.frame.zip"), zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for position in random.integers(0, len(data), 150):
        changed = bytearray(data)
        changed[position] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        with contextlib.suppress(DatasetError):
            read_frame(path)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.frame.zip")
    with pytest.raises(DatasetError, match="pipe"):
        read_frame(tmp_path / "f.frame.zip")


def test_round_trip_is_exact(tmp_path: Path) -> None:
    write_frame(tmp_path / "f.frame.zip", kept_frame())
    read = read_frame(tmp_path / "f.frame.zip")
    np.testing.assert_array_equal(read.sample.keyframe.points, POINTS)
    assert read.sample.keyframe.points.flags.writeable
    assert read.labels.boxes.names == ["car"]
    buffer = io.BytesIO()
    np.save(buffer, POINTS)
    assert buffer.getvalue()[:8] == b"\x93NUMPY\x01\x00"
