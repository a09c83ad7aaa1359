"""Detections on disk: the nuScenes results JSON, which every nuScenes tool reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io import atomic, outside

_SENSORS = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}


ResultsFrame = Literal["world", "lidar"]


def results_frame(meta: Mapping[str, object]) -> ResultsFrame:
    """The frame in ``meta["frame"]``; ``"world"`` if it is missing, as in every nuScenes submission.

    Raises:
        DatasetError: it is another one.
    """
    given = meta.get("frame", "world")
    if given not in ("world", "lidar"):
        raise DatasetError(f"the results' meta.frame is {given!r}; expected 'world' or 'lidar'")
    return given


def write_results(
    path: Path,
    results: Mapping[str, Boxes3D],
    meta: Mapping[str, Any],
    *,
    track_ids: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Writes sample_token → boxes, atomically.

    Args:
        path: the JSON file.
        results: boxes of each sample, all in frame ``meta["frame"]``.
        meta: ``frame`` ("world", or "lidar" where there is no ego-motion) and what else belongs with the results:
            model_sha256, class_names, provenance. The official devkit's ``use_*`` keys are filled in.
        track_ids: sample_token → as many ids as boxes, equal for the same object over a drive; "" for none. They become
            ``tracking_id``, nuScenes' own name in its tracking task.

    Raises:
        DatasetError: ``meta`` names no frame.
    """
    if meta.get("frame") not in ("world", "lidar"):
        raise DatasetError(f"write_results received frame {meta.get('frame')!r}; expected 'world' or 'lidar'")
    document = {
        "meta": {**_SENSORS, **meta},
        "results": {
            token: _box_dicts(token, boxes, track_ids[token] if track_ids else [""] * len(boxes))
            for token, boxes in results.items()
        },
    }
    atomic.write_bytes(Path(path), json.dumps(document, separators=(",", ":")).encode())


def read_results(path: Path, class_names: tuple[str, ...] | None = None) -> tuple[dict[str, Boxes3D], dict[str, Any]]:
    """Reads a results file, ours or any nuScenes submission.

    Args:
        path: the JSON file.
        class_names: names that the labels index; None for nuScenes' ten or, if others occur, the file's own by name.

    Returns:
        (sample_token → boxes with labels that index ``class_names``, meta).

    Raises:
        DatasetError: the file is missing, no results JSON, or has a class not in ``class_names``.
    """
    document = _read(path)
    try:
        names = class_names or _class_names(document["results"])
        return _boxes_by_token(document["results"], names), dict(document["meta"])
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise _foreign(path, error) from None


def results_classes(path: Path) -> tuple[str, ...]:
    """The classes that the results are of: those of the model in ``meta.class_names``, else as in ``read_results``.

    Raises:
        DatasetError: the file is missing, no results JSON, or its ``class_names`` are no texts.
    """
    document = _read(path)
    try:
        names = document["meta"].get("class_names")
        if names is None:
            return _class_names(document["results"])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("meta.class_names are no texts")
        return tuple(dict.fromkeys(names))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _foreign(path, error) from None


def read_track_ids(path: Path) -> dict[str, tuple[str, ...]]:
    """sample_token → the ``tracking_id`` of each box, in the order of ``read_results``; "" for a box that has none.

    Raises:
        DatasetError: the file is missing or no results JSON.
    """
    document = _read(path)
    try:
        return {
            token: tuple(str(row.get("tracking_id", "")) for row in rows) for token, rows in document["results"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise _foreign(path, error) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = outside.read_json(Path(path))
        return document
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); expected a results JSON") from None
    except ValueError as error:
        raise _foreign(path, error) from None


def _foreign(path: Path, error: Exception) -> DatasetError:
    if isinstance(error, DatasetError):
        return DatasetError(f"{path}: {error}")
    return DatasetError(
        f"{path} is no nuScenes results JSON ({type(error).__name__}: {error}); expected 'meta' and 'results' "
        "with boxes, as `lidarloop replay` writes them"
    )


def _class_names(results: dict[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    found = {str(row["detection_name"]) for rows in results.values() for row in rows}
    return NUSCENES_CLASSES if found <= set(NUSCENES_CLASSES) else tuple(sorted(found))


def _box_dicts(token: str, boxes: Boxes3D, track_ids: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for value, score, name, track_id in zip(boxes.values, boxes.scores, boxes.names, track_ids, strict=True):
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
                **({"tracking_id": track_id} if track_id else {}),
            }
        )
    return rows


def _boxes_by_token(results: Mapping[str, Any], class_names: tuple[str, ...]) -> dict[str, Boxes3D]:
    """Boxes of all samples, computed together: one object for each of a hundred thousand rotations takes minutes."""
    counts = [len(rows) for rows in results.values()]
    rows = [row for sample in results.values() for row in sample]
    position = {name: i for i, name in enumerate(class_names)}
    names = [row["detection_name"] for row in rows]
    if unknown := sorted(set(names) - position.keys()):
        raise DatasetError(f"received class {', '.join(unknown)}; expected {', '.join(class_names)}")
    translation, size = _column(rows, "translation", 3), _column(rows, "size", 3)
    yaw_rad = _yaws(_column(rows, "rotation", 4))
    # nuScenes gives width, length, height.
    columns = [translation, size[:, [1, 0, 2]], yaw_rad, _column(rows, "velocity", 2)]
    values = np.column_stack(columns).astype(np.float32)
    scores = np.array([row["detection_score"] for row in rows], np.float32)
    if not (np.isfinite(values[:, :7]).all() and np.isfinite(scores).all()):  # a velocity may be unknown
        raise ValueError("a translation, size or score is not finite")
    labels = np.array([position[name] for name in names], np.int64)
    ends = np.cumsum(counts)
    return {
        token: Boxes3D(values[end - count : end], scores[end - count : end], labels[end - count : end], class_names)
        for token, count, end in zip(results, counts, ends, strict=True)
    }


def _column(rows: list[dict[str, Any]], key: str, width: int) -> npt.NDArray[np.float64]:
    """(N, width) values of one entry of all boxes."""
    if not rows:
        return np.zeros((0, width))
    column = np.array([row[key] for row in rows], np.float64).reshape(len(rows), -1)
    if column.shape[1] != width:
        raise ValueError(f"{key} holds {column.shape[1]} numbers, expected {width}")
    return column


def _yaws(quaternions_wxyz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N,) heading of the rotated x axis in the xy plane, radians; (N, 4) quaternions need not be normalised."""
    if not np.isfinite(quaternions_wxyz).all() or not quaternions_wxyz.any(axis=1).all():
        raise ValueError("a rotation is zero or not finite")
    w, x, y, z = quaternions_wxyz.T
    yaw_rad: npt.NDArray[np.float64] = np.arctan2(2 * (w * z + x * y), w * w + x * x - y * y - z * z)
    return yaw_rad


def _shortest(value: np.float32) -> float:
    """The double with the fewest digits that reads back as the same float32."""
    return float(str(value))
