"""A kept frame as one file: cloud, pictures, calibration, poses, labels and their provenance.

The file is a zip archive without compression, so that any tool opens it and every member has a checksum:
``frame.json``, ``sweep-00.npy`` (newest first) …, and each picture as the camera sent it. It is written under a
temporary name and renamed, so that a killed writer leaves a complete frame or none.
"""

from __future__ import annotations

import io
import json
import math
import tokenize
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import atomic, outside, regular_file
from lidarloop_core.io.images import MOST_FILE_BYTES, EncodedImage, encoded
from lidarloop_core.io.outside import DAMAGED_ZIP, read_member, safe_name
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep

SUFFIX = ".frame.zip"
_VERSION = 1
_MOST_FILE_BYTES = 4 << 30
_MOST_HEADER_BYTES = 64 << 20
_MOST_CLOUD_BYTES = 512 << 20

_DAMAGED = (*DAMAGED_ZIP, KeyError, TypeError, AttributeError, IndexError, OverflowError, ValueError)

_T = TypeVar("_T")


@dataclass(frozen=True)
class KeptFrame:
    """A frame with its labels.

    Attributes:
        sample: sweeps, pictures and poses; its annotations are the labels.
        labels: pseudo-labels, keyframe LiDAR's frame.
        value: value for training, in [0, 1]; frames with the least value are deleted first.
        reasons: reasons for the value, e.g. "rare class: bicycle".
        degraded: inputs that were missing when it was labelled, e.g. "CAM_BACK: no picture"; empty if none was.
        provenance: origin of the labels: model hashes, configuration, software versions.
    """

    sample: Sample
    labels: PseudoLabels
    value: float
    reasons: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


class FrameHeader(NamedTuple):
    """What a frame's file tells without its clouds and images.

    Attributes:
        key: name of the sample.
        annotations: the labels, in the keyframe LiDAR's frame.
        pose: where the keyframe LiDAR is.
    """

    key: SampleKey
    annotations: Annotations
    pose: LidarPose


def write_frame(path: Path, frame: KeptFrame) -> None:
    """Writes a frame, all of it or nothing.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    sample = frame.sample
    pictures = [encoded(camera) for camera in sample.cameras]
    with atomic.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("frame.json", json.dumps(_as_json(frame, pictures), allow_nan=True))
        for i, sweep in enumerate(sample.sweeps):
            buffer = io.BytesIO()
            np.save(buffer, sweep.points, allow_pickle=False)
            archive.writestr(_sweep_name(i), buffer.getvalue())
        for camera, picture in zip(sample.cameras, pictures, strict=True):
            archive.writestr(_picture_name(camera.name, picture.format), picture.data)


def read_frame(path: Path) -> KeptFrame:
    """Reads a frame; every checksum is verified.

    Raises:
        DatasetError: the file is missing, damaged, or no frame.
    """
    return _read(path, _frame)


def read_header(path: Path) -> FrameHeader:
    """Reads the name, the labels and the pose of a frame; no cloud and no image.

    Raises:
        DatasetError: the file is missing, damaged, or no frame.
    """
    return _read(path, _header)


def _read(path: Path, parse: Callable[[dict[str, Any], zipfile.ZipFile], _T]) -> _T:
    try:
        with regular_file.opened(path, _MOST_FILE_BYTES) as file, zipfile.ZipFile(file) as archive:
            document = outside.parse_json(read_member(archive, "frame.json", _MOST_HEADER_BYTES))
            if document["version"] != _VERSION:
                raise ValueError(f"version {document['version']}, this program reads {_VERSION}")
            if not document["sweeps"]:
                raise ValueError("it has no sweep")
            return parse(document, archive)
    except _DAMAGED as error:
        raise DatasetError(
            f"{path} is no readable frame ({type(error).__name__}: {error}); expected an intact *{SUFFIX} of the "
            "self-labelling node: restore the file, or delete it"
        ) from None


def _as_json(frame: KeptFrame, pictures: list[EncodedImage]) -> dict[str, Any]:
    sample, labels = frame.sample, frame.labels
    return {
        "version": _VERSION,
        "token": sample.token,
        "scene": sample.scene,
        "stamp_ns": sample.stamp_ns,
        "sweeps": [
            {
                "columns": sweep.columns,
                "stamp_ns": sweep.stamp_ns,
                "ego_SE3_lidar": _matrix(sweep.ego_SE3_lidar),
                "world_SE3_ego": _matrix(sweep.world_SE3_ego),
            }
            for sweep in sample.sweeps
        ],
        "cameras": [
            {
                "name": camera.name,
                "format": picture.format,
                "intrinsics": camera.intrinsics.tolist(),
                "width": camera.width,
                "height": camera.height,
                "stamp_ns": camera.stamp_ns,
                "ego_SE3_camera": _matrix(camera.ego_SE3_camera),
                "world_SE3_ego": _matrix(camera.world_SE3_ego),
            }
            for camera, picture in zip(sample.cameras, pictures, strict=True)
        ],
        "labels": {
            "class_names": labels.boxes.class_names,
            "values": labels.boxes.values.astype(float).tolist(),
            "scores": labels.boxes.scores.astype(float).tolist(),
            "labels": labels.boxes.labels.tolist(),
            "quality": labels.quality.astype(float).tolist(),
            "num_points": labels.num_points.tolist(),
            "cameras": labels.cameras,
            "yaw_sources": labels.yaw_sources,
        },
        "value": frame.value,
        "reasons": frame.reasons,
        "degraded": frame.degraded,
        "provenance": dict(frame.provenance),
    }


def _frame(document: dict[str, Any], archive: zipfile.ZipFile) -> KeptFrame:
    labels = _labels(document)
    sample = Sample(
        token=document["token"],
        scene=document["scene"],
        stamp_ns=document["stamp_ns"],
        sweeps=tuple(_sweep(row, archive, i) for i, row in enumerate(document["sweeps"])),
        cameras=tuple(_camera(row, archive) for row in document["cameras"]),
        annotations=_annotations(document, labels),
    )
    return KeptFrame(
        sample,
        labels,
        float(document["value"]),
        tuple(document["reasons"]),
        tuple(document["degraded"]),
        document["provenance"],
    )


def _header(document: dict[str, Any], _: zipfile.ZipFile) -> FrameHeader:
    key = SampleKey(document["token"], document["scene"], document["stamp_ns"])
    return FrameHeader(key, _annotations(document, _labels(document)), _lidar_pose(document["sweeps"][0]))


def _labels(document: dict[str, Any]) -> PseudoLabels:
    rows = document["labels"]
    boxes = Boxes3D(
        np.array(rows["values"], np.float32).reshape(-1, 9),
        np.array(rows["scores"], np.float32),
        np.array(rows["labels"], np.int64),
        tuple(rows["class_names"]),
    )
    return PseudoLabels(
        boxes,
        np.array(rows["quality"], np.float32),
        np.array(rows["num_points"], np.int64),
        tuple(tuple(names) for names in rows["cameras"]),
        tuple(rows["yaw_sources"]),
    )


def _annotations(document: dict[str, Any], labels: PseudoLabels) -> Annotations:
    # Frames are kept one by one: what is the same object in another one is not known.
    instance_ids = tuple(f"{document['token']}-{i}" for i in range(len(labels)))
    return Annotations(labels.boxes, instance_ids, labels.num_points, np.full(len(labels), np.nan, np.float32))


def _lidar_pose(row: dict[str, Any]) -> LidarPose:
    return LidarPose(SE3.from_matrix(row["ego_SE3_lidar"]), _pose(row["world_SE3_ego"]))


def _sweep(row: dict[str, Any], archive: zipfile.ZipFile, index: int) -> Sweep:
    points = _array(read_member(archive, _sweep_name(index), _MOST_CLOUD_BYTES))
    if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != len(row["columns"]):
        raise ValueError(f"a sweep of {points.dtype} {points.shape} with columns {', '.join(row['columns'])}")
    pose = _lidar_pose(row)
    return Sweep(points, tuple(row["columns"]), row["stamp_ns"], pose.ego_SE3_lidar, pose.world_SE3_ego)


def _camera(row: dict[str, Any], archive: zipfile.ZipFile) -> CameraImage:
    name, format = row["name"], row["format"]
    if safe_name(name) != name or format not in ("jpeg", "png"):
        raise ValueError(f"a camera {str(name)[:80]!r} with a picture of format {str(format)[:20]!r}")
    return CameraImage(
        name=name,
        load=EncodedImage(read_member(archive, _picture_name(name, format), MOST_FILE_BYTES), format),
        intrinsics=np.array(row["intrinsics"], np.float64).reshape(3, 3),
        width=row["width"],
        height=row["height"],
        stamp_ns=row["stamp_ns"],
        ego_SE3_camera=SE3.from_matrix(row["ego_SE3_camera"]),
        world_SE3_ego=_pose(row["world_SE3_ego"]),
    )


def _array(data: bytes) -> npt.NDArray[np.float32]:
    """The array of an npy file; what its header promises is held against the bytes that are there."""
    stream = io.BytesIO(data)
    npy: Any = np.lib.format  # numpy does not declare its types
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("a sweep that is no npy file of version 1.0")
    try:
        shape, is_fortran, dtype = npy.read_array_header_1_0(stream)
    except (ValueError, SyntaxError, tokenize.TokenError) as error:  # numpy explains over several lines
        raise ValueError(str(error).partition("\n")[0]) from None
    size = math.prod(shape) * dtype.itemsize
    if dtype != np.float32 or is_fortran or size != len(data) - stream.tell():
        raise ValueError(f"a sweep of {dtype} {shape} in {len(data)} bytes")
    return np.frombuffer(data, np.float32, offset=stream.tell()).reshape(shape).copy()


def _matrix(pose: SE3 | None) -> list[list[float]] | None:
    return None if pose is None else pose.matrix.tolist()


def _pose(matrix: list[list[float]] | None) -> SE3 | None:
    return None if matrix is None else SE3.from_matrix(matrix)


def _sweep_name(index: int) -> str:
    return f"sweep-{index:02d}.npy"


def _picture_name(camera: str, format: str) -> str:
    return f"{camera}.{'jpg' if format == 'jpeg' else format}"
