"""Labelled frames as JSON: what workers hand over, and what a finished segment leaves on disk.

Numbers survive the round trip to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame, as_json, left_out_document, read_left_out


def segment_document(class_names: Sequence[str], frames: Sequence[dict[str, Any]], **about: str) -> bytes:
    """Frame documents with what their labels mean; the same bytes for the same content."""
    return as_json({**about, "class_names": list(class_names), "frames": list(frames)})


def read_segment(document: bytes) -> list[LabelledFrame]:
    """The frames of a ``segment_document``."""
    read = json.loads(document)
    return [read_frame(frame, tuple(read["class_names"])) for frame in read["frames"]]


def frame_document(frame: LabelledFrame) -> dict[str, Any]:
    """Plain JSON values; class names are those of the segment."""
    labels, pose = frame.labels, frame.world_SE3_lidar
    return {
        "index": frame.index,
        "token": frame.token,
        "scene": frame.scene,
        "stamp_ns": frame.stamp_ns,
        "world_SE3_lidar": None if pose is None else [pose.rotation.tolist(), pose.translation.tolist()],
        "boxes": labels.boxes.values.tolist(),
        "scores": labels.boxes.scores.tolist(),
        "labels": labels.boxes.labels.tolist(),
        "quality": labels.quality.tolist(),
        "num_points": labels.num_points.tolist(),
        "cameras": [list(cameras) for cameras in labels.cameras],
        "yaw_sources": list(labels.yaw_sources),
        "left_out": left_out_document(frame.left_out),
    }


def read_frame(document: dict[str, Any], class_names: tuple[str, ...]) -> LabelledFrame:
    """Inverse of ``frame_document``."""
    pose = document["world_SE3_lidar"]
    boxes = Boxes3D(
        np.array(document["boxes"], np.float32).reshape(-1, 9),
        np.array(document["scores"], np.float32),
        np.array(document["labels"], np.int64),
        class_names,
    )
    return LabelledFrame(
        index=document["index"],
        token=document["token"],
        scene=document["scene"],
        stamp_ns=document["stamp_ns"],
        world_SE3_lidar=None if pose is None else SE3(np.array(pose[0]), np.array(pose[1])),
        labels=PseudoLabels(
            boxes,
            np.array(document["quality"], np.float32),
            np.array(document["num_points"], np.int64),
            tuple(tuple(cameras) for cameras in document["cameras"]),
            tuple(document["yaw_sources"]),
        ),
        left_out=read_left_out(document["left_out"]),
    )
