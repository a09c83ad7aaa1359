"""Detections on disk: the nuScenes results JSON, which every nuScenes tool reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import atomic

_SENSORS = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}


def write_results(path: Path, results: Mapping[str, Boxes3D], meta: Mapping[str, Any]) -> None:
    """Writes sample_token → boxes, atomically.

    Args:
        path: the JSON file.
        results: boxes of each sample, all in frame ``meta["frame"]``.
        meta: ``frame`` ("world", or "lidar" where there is no ego-motion) and what else belongs with the results:
            model_sha256, provenance. The official devkit's ``use_*`` keys are filled in.

    Raises:
        DatasetError: ``meta`` names no frame.
    """
    if meta.get("frame") not in ("world", "lidar"):
        raise DatasetError(f"write_results received frame {meta.get('frame')!r}; expected 'world' or 'lidar'")
    document = {
        "meta": {**_SENSORS, **meta},
        "results": {token: _box_dicts(token, boxes) for token, boxes in results.items()},
    }
    atomic.write_bytes(Path(path), json.dumps(document, separators=(",", ":")).encode())


def read_results(path: Path, class_names: tuple[str, ...]) -> tuple[dict[str, Boxes3D], dict[str, Any]]:
    """Reads a results file, ours or any nuScenes submission.

    Returns:
        (sample_token → boxes with labels counted in ``class_names``, meta).

    Raises:
        DatasetError: the file is missing, no results JSON, or has a class not in ``class_names``.
    """
    try:
        document = json.loads(Path(path).read_bytes())
        meta: dict[str, Any] = dict(document["meta"])
        return {token: _boxes(boxes, class_names) for token, boxes in document["results"].items()}, meta
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); expected a results JSON") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise DatasetError(f"{path}: {error}") from None
        raise DatasetError(
            f"{path} is no nuScenes results JSON ({type(error).__name__}: {error}); expected 'meta' and 'results' "
            "with boxes, as `lidarloop replay` writes them"
        ) from None


def _box_dicts(token: str, boxes: Boxes3D) -> list[dict[str, Any]]:
    rows = []
    for value, score, name in zip(boxes.values, boxes.scores, boxes.names, strict=True):
        x, y, z, length, width, height, _, vx, vy = (_shortest(v) for v in value)
        half_yaw_rad = float(value[6]) / 2
        rows.append(
            {
                "sample_token": token,
                "translation": [x, y, z],
                "size": [width, length, height],  # nuScenes' order
                "rotation": [math.cos(half_yaw_rad), 0.0, 0.0, math.sin(half_yaw_rad)],
                "velocity": [vx, vy],  # NaN where unknown, as the devkit writes it
                "detection_name": name,
                "detection_score": _shortest(score),
                "attribute_name": "",
            }
        )
    return rows


def _boxes(rows: list[dict[str, Any]], class_names: tuple[str, ...]) -> Boxes3D:
    position = {name: i for i, name in enumerate(class_names)}
    if unknown := sorted({row["detection_name"] for row in rows} - position.keys()):
        raise DatasetError(f"received class {', '.join(unknown)}; expected {', '.join(class_names)}")
    values = np.empty((len(rows), 9), np.float32)
    for value, row in zip(values, rows, strict=True):
        pose = SE3.from_wxyz(row["rotation"], row["translation"])
        width, length, height = row["size"]
        value[:] = (*row["translation"], length, width, height, pose.yaw_rad, *row["velocity"])
    return Boxes3D(
        values,
        np.array([row["detection_score"] for row in rows], np.float32),
        np.array([position[row["detection_name"]] for row in rows], np.int64),
        class_names,
    )


def _shortest(value: np.float32) -> float:
    """The double with the fewest digits that reads back as the same float32."""
    return float(str(value))
