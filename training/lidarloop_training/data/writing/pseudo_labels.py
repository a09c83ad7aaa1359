"""Pseudo-labels on disk: a folder per drive with ``labels.json`` and ``evidence.json``.

``labels.json`` is a nuScenes results JSON, which every nuScenes tool reads: boxes in the world frame, or in the LiDAR
frame of each sample where the drive has no ego-motion (``meta["frame"]``). ``evidence.json`` beside it holds what
each label rests on, sample by sample in the order of the boxes::

    {"meta": {…}, "left_out": {"cameras": {reason: n}, "masks": {…}, "sweeps": {…}},
     "samples": {token: {"stamp_ns": …, "quality": […], "num_points": […], "cameras": [[…], …], "yaw_sources": […]}}}
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import atomic, outside
from lidarloop_core.io.results import read_results, write_results
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.sample import LidarPose, Sample

LABELS, EVIDENCE = "labels.json", "evidence.json"


@dataclass(frozen=True)
class LabelledFrame:
    """One labelled sample.

    Attributes:
        index: position of the sample in its source.
        token: sample token.
        scene: name of its drive.
        stamp_ns: stamp of its keyframe, nanoseconds.
        world_SE3_lidar: pose of its keyframe LiDAR; None where there is no ego-motion.
        labels: boxes and their evidence, keyframe LiDAR's frame.
        left_out: counts of what was not lifted.
    """

    index: int
    token: str
    scene: str
    stamp_ns: int
    world_SE3_lidar: SE3 | None
    labels: PseudoLabels
    left_out: LeftOut

    @staticmethod
    def of(index: int, sample: Sample, labels: PseudoLabels, left_out: LeftOut) -> LabelledFrame:
        pose = LidarPose.of(sample.keyframe).world_SE3_lidar
        return LabelledFrame(index, sample.token, sample.scene, sample.stamp_ns, pose, labels, left_out)


@dataclass(frozen=True)
class LabelledDrive:
    """A drive's labels, read back.

    Attributes:
        labels: token → labels in the frame of reference ``meta["frame"]``.
        stamps_ns: token → stamp, nanoseconds.
        left_out: counts of what was not lifted, summed over the drive.
        meta: ``meta`` of ``labels.json``.
    """

    labels: Mapping[str, PseudoLabels]
    stamps_ns: Mapping[str, int]
    left_out: LeftOut
    meta: Mapping[str, Any]


def drive_folder(out: Path, scene: str) -> Path:
    """Where the labels of a drive lie; a scene's name may hold what a folder's may not."""
    return out / re.sub(r"[^\w.-]+", "_", scene)


def write_drive(folder: Path, frames: Sequence[LabelledFrame], meta: Mapping[str, Any]) -> Path:
    """Writes both files, ``evidence.json`` last: where it is, the labels are complete. Gives the path of the labels."""
    has_motion = all(frame.world_SE3_lidar is not None for frame in frames)
    boxes = {
        frame.token: frame.labels.boxes.righted(frame.world_SE3_lidar)
        if has_motion and frame.world_SE3_lidar is not None
        else frame.labels.boxes
        for frame in frames
    }
    about = {**meta, "frame": "world" if has_motion else "lidar"}
    write_results(folder / LABELS, boxes, about)
    left_out = sum((frame.left_out for frame in frames), LeftOut())
    evidence = {
        "meta": about,
        "left_out": left_out_document(left_out),
        "samples": {frame.token: {"stamp_ns": frame.stamp_ns, **_evidence(frame.labels)} for frame in frames},
    }
    atomic.write_bytes(folder / EVIDENCE, as_json(evidence))
    return folder / LABELS


def read_drive(labels: Path, class_names: tuple[str, ...] | None = None) -> LabelledDrive:
    """Reads ``labels.json`` and the ``evidence.json`` beside it.

    Raises:
        DatasetError: one of them is missing, foreign, or does not fit the other.
    """
    boxes, meta = read_results(labels, class_names)
    path = labels.with_name(EVIDENCE)
    try:
        document = outside.read_json(path)
        samples = document["samples"]
        read = {
            token: PseudoLabels(
                boxes[token],
                np.array(row["quality"], np.float32),
                np.array(row["num_points"], np.int64),
                tuple(tuple(cameras) for cameras in row["cameras"]),
                tuple(row["yaw_sources"]),
            )
            for token, row in samples.items()
        }
        stamps = {token: int(row["stamp_ns"]) for token, row in samples.items()}
        left_out = read_left_out(document["left_out"])
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); expected it beside {labels.name}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DatasetError(
            f"{path} does not hold the evidence of {labels.name} ({type(error).__name__}: {error}); expected both as "
            "`lidarloop pseudolabel` writes them"
        ) from None
    return LabelledDrive(read, stamps, left_out, meta)


def left_out_document(left_out: LeftOut) -> dict[str, dict[str, int]]:
    """For JSON, reasons in order."""
    return {name: dict(sorted(counter.items())) for name, counter in vars(left_out).items()}


def read_left_out(document: Mapping[str, Mapping[str, int]]) -> LeftOut:
    """Inverse of ``left_out_document``."""
    return LeftOut(**{name: Counter(counts) for name, counts in document.items()})


def as_json(document: Any) -> bytes:
    """Compact, and the same bytes for the same content."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _evidence(labels: PseudoLabels) -> dict[str, Any]:
    return {
        "quality": [float(str(value)) for value in labels.quality],
        "num_points": labels.num_points.tolist(),
        "cameras": [list(cameras) for cameras in labels.cameras],
        "yaw_sources": list(labels.yaw_sources),
    }
