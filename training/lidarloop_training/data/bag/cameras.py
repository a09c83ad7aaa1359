"""The cameras of a bag: which calibration holds for which picture."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lidarloop_core.errors import DatasetError, ImageFormatError
from lidarloop_core.io.bag import BagReader, header_stamp_ns
from lidarloop_core.io.camera_messages import (
    Calibration,
    calibration_from_message,
    camera_info_topic,
    camera_name,
    picture_size,
)
from lidarloop_core.io.images import RAW_ENCODINGS
from lidarloop_training.data.bag.pictures import COMPRESSED_TYPE, RAW_TYPE
from lidarloop_training.data.bag.stamps import Stamps, Times
from lidarloop_training.data.bag.topics import CAMERA_INFO_TYPE

_STAMP_END = 12  # bytes before a header's frame: the encapsulation's header and the stamp


@dataclass(frozen=True)
class BagCamera:
    """One camera's calibrations over the drive.

    Attributes:
        topic: topic of its images.
        frame: optical frame.
        starts_ns: time from which each calibration holds, ascending; stamps, or times of recording.
        calibrations: the calibrations; None while they do not fit the images.
        by_stamp: whether ``starts_ns`` are stamps.
    """

    topic: str
    frame: str
    starts_ns: tuple[int, ...]
    calibrations: tuple[Calibration | None, ...]
    by_stamp: bool

    def calibration(self, stamp_ns: int, time_ns: int) -> Calibration | None:
        """The one that holds for an image with this stamp, recorded at ``time_ns``; None if it does not fit."""
        at_ns = stamp_ns if self.by_stamp else time_ns
        return self.calibrations[max(bisect_right(self.starts_ns, at_ns) - 1, 0)]


def image_topics(bag: BagReader) -> list[str]:
    """One topic for each camera that has pictures: the compressed one of two."""
    topics = [(topic, kind) for topic, kind in bag.topics.items() if bag.message_counts[topic]]
    compressed = [topic for topic, kind in topics if kind == COMPRESSED_TYPE]
    known = {camera_name(topic) for topic in compressed}
    return compressed + [t for t, kind in topics if kind == RAW_TYPE and camera_name(t) not in known]


def find_cameras(
    bag: BagReader, topics: list[str], times: Mapping[str, Times], read: Callable[[str, int], Any], stamps: Stamps
) -> Iterator[BagCamera]:
    """The cameras whose images can be read and are calibrated; the others are left out with a warning.

    Args:
        bag: the bag.
        topics: topics of images.
        times: the images' times.
        read: gives the message of a topic with a stamp.
        stamps: which time is a message's stamp.
    """
    changes = _calibration_changes(bag, [camera_info_topic(topic) for topic in topics])
    for topic in topics:
        infos = changes.get(camera_info_topic(topic))
        if not infos:
            _warn(bag, f"{topic} has no camera_info beside it and is left out")
        elif times[topic] and _is_readable(bag, topic, read(topic, next(iter(times[topic])))):
            camera = _camera(bag, topic, infos, times[topic], stamps)
            camera = _held_against_images(bag, camera, times[topic], read)
            if any(camera.calibrations):
                yield camera


_Info = tuple[int, int, Any]  # stamp, time of recording, sensor_msgs/CameraInfo


def _calibration_changes(bag: BagReader, topics: list[str]) -> dict[str, list[_Info]]:
    """Each topic's camera_info messages that differ from the one before, in order of recording."""
    known: dict[str, bytes] = {}
    times: dict[str, list[tuple[int, int]]] = {}
    for topic, time_ns, raw in bag.raw_messages(
        [t for t in dict.fromkeys(topics) if bag.topics.get(t) == CAMERA_INFO_TYPE]
    ):
        stamp_ns = header_stamp_ns(raw)
        if stamp_ns is not None and known.get(topic) != raw[_STAMP_END:]:
            known[topic] = raw[_STAMP_END:]
            times.setdefault(topic, []).append((stamp_ns, time_ns))
    return {
        topic: [
            (stamp_ns, time_ns, next(m for _, _, m in bag.messages([topic], start_ns=time_ns, stop_ns=time_ns + 1)))
            for stamp_ns, time_ns in found
        ]
        for topic, found in times.items()
    }


def _camera(bag: BagReader, topic: str, infos: list[_Info], times: Times, stamps: Stamps) -> BagCamera:
    starts = [stamp_ns for stamp_ns, _, _ in infos]
    # A driver may leave the stamps of its camera_info at 0, or on another clock than the images'.
    first, last = next(iter(times)), next(reversed(times))
    by_stamp = stamps == "header" and all(a < b for a, b in pairwise(starts)) and first - 10**9 <= starts[-1] <= last
    calibrations: list[Calibration | None] = []
    for _, _, info in infos:
        try:
            calibrations.append(calibration_from_message(info, topic))
        except (ImageFormatError, DatasetError) as error:
            _warn(bag, f"{error}; its pictures are left out")
            calibrations.append(None)
    starts_ns = starts if by_stamp else [time_ns for _, time_ns, _ in infos]
    return BagCamera(topic, infos[0][2].header.frame_id, tuple(starts_ns), tuple(calibrations), by_stamp)


def _held_against_images(bag: BagReader, camera: BagCamera, times: Times, read: Callable[[str, int], Any]) -> BagCamera:
    """Without the calibrations that are of another size than the first image they hold for."""
    checked: set[int] = set()
    fitting = list(camera.calibrations)
    for stamp_ns, time_ns in times.items():
        calibration = camera.calibration(stamp_ns, time_ns)
        if calibration is None or id(calibration) in checked:
            continue
        checked.add(id(calibration))
        try:
            calibration.require_size(*picture_size(read(camera.topic, stamp_ns)))
        except ImageFormatError as error:
            _warn(bag, f"{error}; its pictures are left out")
            fitting = [None if c is calibration else c for c in fitting]
    return BagCamera(camera.topic, camera.frame, camera.starts_ns, tuple(fitting), camera.by_stamp)


def _is_readable(bag: BagReader, topic: str, message: Any) -> bool:
    if bag.topics[topic] != RAW_TYPE or message.encoding in RAW_ENCODINGS:
        return True
    _warn(bag, f"{topic} has encoding {message.encoding}, none of {', '.join(RAW_ENCODINGS)}, and is left out")
    return False


def _warn(bag: BagReader, text: str) -> None:
    warnings.warn(f"{bag.path}: {text}", stacklevel=5)
