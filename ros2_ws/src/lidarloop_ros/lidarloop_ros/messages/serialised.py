"""Boxes → the CDR bytes of the messages that the detector publishes for each cloud, without the messages.

For 200 boxes rclpy needs 6 ms to build and serialise the detections, and 20 ms for the markers, although nearly all of
the content is numbers that already lie side by side in an array. Here they are copied in half a millisecond. The tests
compare every field with that of the messages.

CDR in one paragraph: four bytes that name the encoding, then the fields in order. A number lies at a multiple of its
size, counted after those four bytes; a string is its length with the closing zero, then its bytes; a sequence is its
length, then its elements. So an element is: what comes before its doubles, which depends on where it begins; its
doubles; what comes after them, which does not.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.colors import class_color, rgb
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_ros.messages.autoware_objects import (
    BOUNDING_BOX,
    CAR_LIKE,
    ORIENTATION_SIGN_UNKNOWN,
    ORIENTATION_UNAVAILABLE,
    label_of,
)

LITTLE_ENDIAN_CDR = b"\x00\x01\x00\x00"
_COVARIANCE = 36
# Constants of visualization_msgs/Marker.
_ARROW, _CUBE = 0, 1
_ADD, _DELETE_ALL = 0, 3
# Long enough for the next cloud's markers to replace them, short enough that those of a dead node disappear.
_MARKER_LIFETIME_NS = 500_000_000
# autoware_perception_msgs/DetectedObject with one classification and no footprint. CDR aligns like C, and it begins and
# ends at multiples of eight, so that a sequence of them is an array.
_AUTOWARE_OBJECT = np.dtype(
    [
        ("existence_probability", "<f4"),
        ("num_classifications", "<u4"),
        ("label", "u1"),
        ("probability", "<f4"),
        ("pose", "<f8", 7),
        ("pose_covariance", "<f8", _COVARIANCE),
        ("has_position_covariance", "u1"),
        ("orientation_availability", "u1"),
        ("twist", "<f8", 6),
        ("twist_covariance", "<f8", _COVARIANCE),
        ("has_twist", "u1"),
        ("has_twist_covariance", "u1"),
        ("shape", "u1"),
        ("num_footprint_points", "<u4"),
        ("dimensions", "<f8", 3),
    ],
    align=True,
)


def detections_bytes(boxes: Boxes3D, time_ns: int, frame_id: str, ids: Sequence[str] = ()) -> bytes:
    """vision_msgs/Detection3DArray: the same as ``io.messages.detections_message``, serialised.

    Args:
        boxes: detections in the frame ``frame_id``.
        time_ns: stamp of the header, nanoseconds.
        frame_id: frame of the header.
        ids: id of each box; empty: none has one.
    """
    cdr = _Cdr()
    cdr.header(time_ns, frame_id)
    cdr.numbers("I", len(boxes))
    pose = _upright_poses(boxes)
    no_covariance = np.zeros((len(boxes), _COVARIANCE))
    doubles = _rows(boxes.scores[:, None], pose, no_covariance, pose, boxes.dimensions)
    before: dict[tuple[int, int], bytes] = {}
    for row, label, after in zip(doubles, boxes.labels.tolist(), map(_string, ids or [""] * len(boxes)), strict=True):
        place = (cdr.size % 8, label)
        if place not in before:
            start = _Cdr(cdr.size)
            start.header(time_ns, frame_id)
            start.numbers("I", 1)  # hypotheses
            start.string(boxes.class_names[label])
            before[place] = start.aligned(8)
        cdr.append(before[place], row, after)
    return cdr.encapsulated()


def objects_bytes(boxes: Boxes3D, time_ns: int, frame_id: str) -> bytes:
    """autoware_perception_msgs/DetectedObjects, filled as Autoware's own CenterPoint fills it, serialised.

    Covariances are marked as unknown: Autoware's tracker then takes those of the class. Arguments as for
    ``detections_bytes``.
    """
    cdr = _Cdr()
    cdr.header(time_ns, frame_id)
    cdr.numbers("I", len(boxes))
    objects = _autoware_objects(boxes).tobytes()
    if objects:
        # The first may begin at an odd multiple of four: then its doubles begin at the next multiple of eight.
        before_pose = _AUTOWARE_OBJECT.fields["pose"][1]  # type: ignore[index]
        cdr.append(objects[:before_pose], bytes(cdr.size % 8), objects[before_pose:])
    return cdr.encapsulated()


def markers_bytes(boxes: Boxes3D, time_ns: int, frame_id: str) -> bytes:
    """visualization_msgs/MarkerArray: a DELETEALL, a cube per box, an arrow per heading; one colour per class.

    Arguments as for ``detections_bytes``.
    """
    cdr = _Cdr()
    cdr.numbers("I", 1 + 2 * len(boxes))
    (nowhere,) = _rows(np.array([[0, 0, 0, 0, 0, 0, 1, 0, 0, 0]]))
    before_id, after_id = _marker_start(cdr.size, time_ns, frame_id, "", _ARROW, _DELETE_ALL)
    cdr.append(before_id, bytes(4), after_id, nowhere, _marker_end((0.0, 0.0, 0.0, 0.0), 0))
    pose = _upright_poses(boxes)
    arrows = np.full((len(boxes), 3), 0.1)
    # From the centre to half a metre beyond the front: visible outside the cube.
    arrows[:, 0] = boxes.values[:, 3] / 2 + 0.5
    ends = [_marker_end(marker_color(name), _MARKER_LIFETIME_NS) for name in boxes.class_names]
    for namespace, shape, scale in (("boxes", _CUBE, boxes.dimensions), ("headings", _ARROW, arrows)):
        starts: dict[int, tuple[bytes, bytes]] = {}
        for i, (row, label) in enumerate(zip(_rows(pose, scale), boxes.labels.tolist(), strict=True)):
            place = cdr.size % 8
            if place not in starts:
                starts[place] = _marker_start(cdr.size, time_ns, frame_id, namespace, shape, _ADD)
            before_id, after_id = starts[place]
            cdr.append(before_id, struct.pack("<i", i), after_id, row, ends[label])
    return cdr.encapsulated()


@lru_cache(maxsize=256)
def marker_color(class_name: str) -> tuple[float, float, float, float]:
    """Red, green, blue and opacity, 0–1, of a class's markers."""
    red, green, blue = rgb(class_color(class_name))
    return red / 255, green / 255, blue / 255, 0.5


def _marker_start(
    offset: int, time_ns: int, frame_id: str, namespace: str, shape: int, action: int
) -> tuple[bytes, bytes]:
    """The bytes before a marker's id, and those between the id and the pose."""
    before_id = _Cdr(offset)
    before_id.header(time_ns, frame_id)
    before_id.string(namespace)
    before = before_id.aligned(4)
    after_id = _Cdr(before_id.size + 4)
    after_id.numbers("i", shape, action)
    return before, after_id.aligned(8)


def _marker_end(color: Sequence[float], lifetime_ns: int) -> bytes:
    """The bytes after a marker's scale: colour, lifetime, and the fields that stay at their defaults."""
    end = _Cdr()
    end.numbers("f", *color)
    end.numbers("I", 0, lifetime_ns)
    end.numbers("B", 0)  # frame_locked
    end.numbers("I", 0, 0)  # points, colors
    end.string("")  # texture_resource
    end.header(0, "")  # texture
    end.string("")
    end.numbers("I", 0, 0)  # its data, uv_coordinates
    end.string("")  # text
    end.string("")  # mesh_resource
    end.string("")  # mesh_file
    end.numbers("I", 0)
    end.numbers("B", 0)  # mesh_use_embedded_materials
    return end.aligned(1)


def _autoware_objects(boxes: Boxes3D) -> npt.NDArray[np.void]:
    """(N,) of ``_AUTOWARE_OBJECT``; the twist is the velocity along the object's own axes."""
    objects = np.zeros(len(boxes), _AUTOWARE_OBJECT)
    objects["existence_probability"] = boxes.scores
    objects["num_classifications"] = 1
    objects["label"] = np.array([label_of(name) for name in boxes.class_names], np.uint8)[boxes.labels]
    objects["probability"] = 1.0
    objects["pose"] = _upright_poses(boxes)
    is_car_like = np.isin(objects["label"], CAR_LIKE)
    objects["orientation_availability"] = np.where(is_car_like, ORIENTATION_SIGN_UNKNOWN, ORIENTATION_UNAVAILABLE)
    has_twist = np.isfinite(boxes.velocities).all(axis=1)
    vx, vy = np.where(has_twist[:, None], boxes.velocities, 0.0).astype(np.float64).T
    yaw = boxes.yaws.astype(np.float64)
    objects["twist"][:, 0] = np.cos(yaw) * vx + np.sin(yaw) * vy
    objects["twist"][:, 1] = np.cos(yaw) * vy - np.sin(yaw) * vx
    objects["has_twist"] = has_twist
    objects["shape"] = BOUNDING_BOX
    objects["dimensions"] = boxes.dimensions
    return objects


def _upright_poses(boxes: Boxes3D) -> npt.NDArray[np.float64]:
    """(N, 7) x y z and the quaternion x y z w of the yaw."""
    poses = np.zeros((len(boxes), 7))
    poses[:, :3] = boxes.centers
    half = boxes.yaws.astype(np.float64) / 2
    poses[:, 5], poses[:, 6] = np.sin(half), np.cos(half)
    return poses


def _rows(*blocks: npt.NDArray[np.floating[Any]]) -> list[bytes]:
    """Each row of the blocks, side by side, as bytes."""
    table = np.hstack(blocks).astype("<f8")
    data, size = table.tobytes(), 8 * table.shape[1]
    return [data[i : i + size] for i in range(0, len(data), size)]


def _string(text: str) -> bytes:
    """A string, at an offset that is aligned for it."""
    cdr = _Cdr()
    cdr.string(text)
    return cdr.aligned(1)


class _Cdr:
    """Fields one after the other, each aligned to its size.

    Args:
        offset: position of the first field, bytes after the encapsulation.
    """

    def __init__(self, offset: int = 0) -> None:
        self.size = offset
        self._parts: list[bytes] = []

    def append(self, *parts: bytes) -> None:
        """Appends bytes that are aligned already."""
        self._parts += parts
        self.size += sum(map(len, parts))

    def aligned(self, size: int) -> bytes:
        """All bytes, padded to a multiple of ``size``."""
        self.append(bytes(-self.size % size))
        return b"".join(self._parts)

    def numbers(self, kind: str, *values: float) -> None:
        """Appends numbers; ``kind`` is their type in ``struct``'s notation."""
        self.append(bytes(-self.size % struct.calcsize(kind)), struct.pack(f"<{len(values)}{kind}", *values))

    def string(self, text: str) -> None:
        data = text.encode()
        self.numbers("I", len(data) + 1)
        self.append(data, b"\0")

    def header(self, time_ns: int, frame_id: str) -> None:
        self.numbers("i", time_ns // 1_000_000_000)
        self.numbers("I", time_ns % 1_000_000_000)
        self.string(frame_id)

    def encapsulated(self) -> bytes:
        return LITTLE_ENDIAN_CDR + b"".join(self._parts)
