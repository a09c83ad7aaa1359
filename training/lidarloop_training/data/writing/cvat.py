"""Results to CVAT and back: boxes that a person corrects become results again.

The annotations travel as Datumaro JSON, which CVAT imports and exports for 3D tasks as "Datumaro 3D 1.0". Its other 3D
format, KITTI raw tracklets, loses tracks on import and cannot hold a size that changes along one. A cuboid has its
centre in ``position``, roll pitch yaw in ``rotation`` and length width height in ``scale``, as ``Boxes3D`` has them.

A task folder holds::

    upload/pointcloud/000000.pcd                        the clouds, to create the task with
    upload/related_images/000000_pcd/CAM_FRONT.jpg      pictures that CVAT shows beside them
    annotations/default.json                            the boxes, to zip and import
    labels.json                                         the label constructor's "Raw" text
    task.json                                           which frame is which sample, and where its origin lies

Where results are in the world frame, clouds are turned to its axes about the vehicle: boxes stay upright on sloped
roads and come back exactly. CVAT itself rounds to two decimals when it exports (1 cm, 0.01 rad).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import atomic, outside, regular_file
from lidarloop_core.io.images import encoded
from lidarloop_core.io.outside import DAMAGED_ZIP, read_member, safe_name
from lidarloop_core.io.results import read_results, read_track_ids, write_results
from lidarloop_core.sample import Sample, SampleSource

TASK_FILE = "task.json"
ANNOTATIONS_FILE = "annotations/default.json"
CORRECTED = "corrected by hand"
"""``meta.provenance.labels`` of what comes back."""

_MOST_EXPORT_BYTES = 1 << 30
_POINT_CLOUD_MEDIA = 6  # Datumaro's number for the kind of data


@dataclass(frozen=True)
class CvatFrame:
    """One cloud of a CVAT task.

    Attributes:
        name: file name of the cloud, without suffix.
        token: token of its sample.
        origin_m: (3,) where the cloud's origin lies in the results' frame; the axes are the same.
    """

    name: str
    token: str
    origin_m: tuple[float, float, float]


def write_cvat_task(results: Path, source: SampleSource, folder: Path, *, min_score: float = 0.0) -> int:
    """Writes a task folder for the samples that a results file has boxes for.

    Args:
        results: results JSON; a ``tracking_id`` makes boxes one track in CVAT.
        source: the drive, for clouds and pictures.
        folder: is created; must not hold a task yet.
        min_score: boxes below it are left out: every box that is imported costs time to look at.

    Returns:
        How many boxes there are to look at.

    Raises:
        DatasetError: the folder is taken, no frame of the drive has results, or one lacks a pose though the results are
            in the world frame.
    """
    if (folder / TASK_FILE).exists():
        raise DatasetError(f"{folder} holds a CVAT task already: choose another folder, or delete it first")
    boxes, meta = read_results(results)
    track_ids = read_track_ids(results)
    in_world = meta.get("frame", "world") == "world"
    frames, shown = [], []
    for index in range(len(source)):
        if source.keys[index].token not in boxes:
            continue
        sample = source[index]
        turned, origin_m = _placement(sample, in_world)
        frame = CvatFrame(f"{index:06d}", sample.token, origin_m)
        _write_upload(folder / "upload", frame, sample, turned)
        kept = boxes[sample.token].scores >= min_score
        ids = [track for track, keep in zip(track_ids[sample.token], kept, strict=True) if keep]
        frames.append(frame)
        shown.append((_shifted(boxes[sample.token][kept], frame, -1), ids))
    if not frames:
        raise DatasetError(
            f"{results}: none of its {len(boxes)} frames is among the {len(source)} of the drive "
            f"(e.g. '{next(iter(boxes), '')}' against '{source.keys[0].token}'); expected the results of this drive"
        )
    class_names = next(iter(boxes.values())).class_names
    _write_json(folder / ANNOTATIONS_FILE, _document(frames, shown, class_names))
    _write_json(folder / "labels.json", [_label(name) for name in class_names])
    _write_json(folder / TASK_FILE, {"meta": meta, "frames": [vars(frame) for frame in frames]})
    return sum(len(found) for found, _ in shown)


def read_cvat_export(export: Path, task_file: Path, results: Path) -> int:
    """Turns what CVAT exported as "Datumaro 3D 1.0" into results.

    Every box has been seen by a person and gets score 1. Velocities are those of the boxes that were sent, unknown
    (NaN) for new ones. A frame that the export leaves out has no boxes.

    Args:
        export: the zip from CVAT, or its ``default.json``.
        task_file: ``task.json`` of the task folder.
        results: the results JSON to write; ``meta.provenance.labels`` becomes "corrected by hand".

    Returns:
        How many boxes were read.

    Raises:
        DatasetError: a file is none of these, or the export has frames that the task has not.
    """
    task, document = _read_json(task_file), _read_export(export)
    try:
        frames = {frame["name"]: CvatFrame(**frame) for frame in task["frames"]}
        class_names = tuple(label["name"] for label in document["categories"]["label"]["labels"])
        boxes = {frame.token: Boxes3D.empty(class_names) for frame in frames.values()}
        track_ids: dict[str, list[str]] = {frame.token: [] for frame in frames.values()}
        for item in document["items"]:
            name = item["id"].rpartition("/")[2]
            if name not in frames:
                raise DatasetError(f"{export}: received frame '{name}'; expected one of {task_file}")
            found, ids = _cuboids(item["annotations"], class_names)
            boxes[frames[name].token] = _shifted(found, frames[name], +1)
            track_ids[frames[name].token] = ids
        sent = {**task["meta"]}
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{export} and {task_file}: not the 3D boxes of a task ({type(error).__name__}: {error}); "
            "export it from CVAT as 'Datumaro 3D 1.0', and keep the task.json that `lidarloop corrections send` wrote"
        ) from None
    provenance = {"labels": CORRECTED, "tool": "CVAT", "corrected": sent.get("provenance")}
    write_results(results, boxes, {**sent, "provenance": provenance}, track_ids=track_ids)
    return sum(len(found) for found in boxes.values())


def _placement(sample: Sample, in_world: bool) -> tuple[SE3, tuple[float, float, float]]:
    """How the cloud is turned, and where its origin then lies in the results' frame."""
    keyframe = sample.keyframe
    if not in_world:
        return SE3.identity(), (0.0, 0.0, 0.0)
    if keyframe.world_SE3_ego is None:
        raise DatasetError(
            f"the results are in the world frame, but sample '{sample.token}' has no ego pose; expected the drive that "
            "they are of, with ego-motion"
        )
    x, y, z = keyframe.world_SE3_ego.translation.tolist()
    return SE3(keyframe.world_SE3_ego.rotation, np.zeros(3)) @ keyframe.ego_SE3_lidar, (x, y, z)


def _shifted(boxes: Boxes3D, frame: CvatFrame, sign: int) -> Boxes3D:
    """Boxes moved by the frame's origin; in float64, for the world's coordinates may be large."""
    values = boxes.values.astype(np.float64)
    values[:, :3] += sign * np.array(frame.origin_m)
    return Boxes3D(values.astype(np.float32), boxes.scores, boxes.labels, boxes.class_names)


def _write_upload(folder: Path, frame: CvatFrame, sample: Sample, turned: SE3) -> None:
    points = sample.keyframe.points
    columns = [turned.transform(points[:, :3])]
    if "intensity" in sample.keyframe.columns:
        columns.append(points[:, [sample.keyframe.columns.index("intensity")]])
    atomic.write_bytes(folder / "pointcloud" / f"{frame.name}.pcd", pcd_bytes(np.hstack(columns)))
    for image in sample.cameras:
        picture = encoded(image)
        suffix = "png" if picture.format == "png" else "jpg"
        path = folder / "related_images" / f"{frame.name}_pcd" / f"{safe_name(image.name)}.{suffix}"
        atomic.write_bytes(path, picture.data)


def pcd_bytes(points: npt.NDArray[np.float32]) -> bytes:
    """A binary PCD 0.7 file of (N, 3 or 4) points x y z intensity."""
    names = ("x", "y", "z", "intensity")[: points.shape[1]]
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(names)}",
        f"SIZE {' '.join('4' for _ in names)}",
        f"TYPE {' '.join('F' for _ in names)}",
        f"COUNT {' '.join('1' for _ in names)}",
        f"WIDTH {len(points)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(points)}",
        "DATA binary",
    ]
    return "\n".join([*header, ""]).encode("ascii") + np.ascontiguousarray(points, dtype="<f4").tobytes()


def _document(
    frames: Sequence[CvatFrame], shown: Sequence[tuple[Boxes3D, Sequence[str]]], class_names: tuple[str, ...]
) -> dict[str, Any]:
    tracks = sorted({track for _, ids in shown for track in ids if track})
    numbers = {track: number for number, track in enumerate(tracks, start=1)}
    items = [
        {
            "id": frame.name,
            "annotations": [_cuboid(boxes, i, ids[i], numbers.get(ids[i])) for i in range(len(boxes))],
            "attr": {"frame": int(frame.name)},
            "point_cloud": {"path": f"{frame.name}.pcd"},
        }
        for frame, (boxes, ids) in zip(frames, shown, strict=True)
    ]
    labels = [{"name": name, "parent": "", "attributes": []} for name in class_names]
    return {
        "dm_format_version": "1.0",
        "media_type": _POINT_CLOUD_MEDIA,
        "infos": {},
        "categories": {"label": {"labels": labels, "attributes": ["occluded"]}},
        "items": items,
    }


def _cuboid(boxes: Boxes3D, index: int, track: str, number: int | None) -> dict[str, Any]:
    x, y, z, length, width, height, yaw, vx, vy = (float(str(value)) for value in boxes.values[index])
    attributes: dict[str, Any] = {"occluded": False, "object": track, "velocity": f"{vx} {vy}"}
    if number is not None:  # what CVAT makes one track of
        attributes |= {"track_id": number, "keyframe": True, "outside": False}
    return {
        "id": index,
        "type": "cuboid_3d",
        "attributes": attributes,
        "group": 0,
        "label_id": int(boxes.labels[index]),
        "position": [x, y, z],
        "rotation": [0.0, 0.0, yaw],
        "scale": [length, width, height],
    }


def _label(name: str) -> dict[str, Any]:
    """A label for CVAT's constructor; what is not declared here CVAT drops on import."""
    texts = [
        {"name": attribute, "mutable": True, "input_type": "text", "default_value": "", "values": [""]}
        for attribute in ("object", "velocity")
    ]
    return {"name": name, "type": "cuboid", "attributes": texts}


def _cuboids(annotations: Sequence[Mapping[str, Any]], class_names: tuple[str, ...]) -> tuple[Boxes3D, list[str]]:
    """Boxes and their tracks' ids; raises ValueError and others for what is no cuboid."""
    rows, labels, ids = [], [], []
    for annotation in annotations:
        attributes = annotation.get("attributes", {})
        if annotation["type"] != "cuboid_3d" or attributes.get("outside") is True:
            continue
        velocity = str(attributes.get("velocity", "")).split() or ["nan", "nan"]
        yaw = annotation["rotation"][2]
        rows.append([*annotation["position"], *annotation["scale"], yaw, *map(float, velocity)])
        labels.append(annotation["label_id"])
        ids.append(str(attributes.get("object") or _new_track(attributes.get("track_id"))))
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is refused
        values = np.array(rows, dtype=np.float32).reshape(-1, 9)
    if not np.isfinite(values[:, :7]).all():
        raise ValueError("a cuboid whose position, size or rotation is not finite")
    return Boxes3D(values, np.ones(len(rows), np.float32), np.array(labels, np.int64), class_names), ids


def _new_track(number: int | None) -> str:
    """The id of a track drawn in CVAT, which gives it a number of its own."""
    return "" if number is None else f"cvat-{number}"


def _read_export(path: Path) -> Any:
    """The Datumaro JSON of a zip or of the bare file."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return _read_json(path)
    try:
        with regular_file.opened(path, _MOST_EXPORT_BYTES) as file, zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if PurePosixPath(name).match("annotations/*.json")]
            if len(names) != 1:
                raise DatasetError(
                    f"{path}: holds {len(names)} files annotations/*.json; expected one: export the task from CVAT as "
                    "'Datumaro 3D 1.0'"
                )
            return outside.parse_json(read_member(archive, names[0], _MOST_EXPORT_BYTES))
    except (*DAMAGED_ZIP, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{path}: no readable export ({type(error).__name__}: {error}); expected CVAT's zip as 'Datumaro 3D 1.0'"
        ) from None


def _read_json(path: Path) -> Any:
    try:
        return outside.read_json(path)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}); expected CVAT's export beside the {TASK_FILE} that "
            "`lidarloop corrections send` wrote"
        ) from None
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON ({error}); expected CVAT's export as 'Datumaro 3D 1.0'") from None


def _write_json(path: Path, document: Any) -> None:
    atomic.write_bytes(path, (json.dumps(document, indent=1) + "\n").encode())
