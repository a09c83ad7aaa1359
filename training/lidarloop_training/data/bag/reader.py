"""ROS 2 bags as samples: those we write, and any recording with a PointCloud2 topic.

What else a bag holds is used: odometry or TF for poses, static transforms for mountings, pictures with their
camera_info, our ground truth and lane map. Several LiDARs become one sweep. Intensities are taken as they were
recorded; ours are 0–255.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BagError, DatasetError, ImageFormatError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.camera_messages import Calibration, calibration_from_message, camera_info_topic, camera_name
from lidarloop_core.io.images import RAW_ENCODINGS
from lidarloop_core.io.lane_map import lane_map_from_json
from lidarloop_core.io.picture_times import MAX_OFFSET_NS, SLOP_S, usual_offset_ns
from lidarloop_core.pointcloud.decode import decode_cloud, read_points
from lidarloop_core.sample import Annotations, CameraImage, LaneMap, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.bag import layout
from lidarloop_training.data.bag.frame_tree import FrameTree, odometry_trajectory, tf_trajectory
from lidarloop_training.data.bag.pictures import (
    COMPRESSED_TYPE,
    RAW_TYPE,
    BagPicture,
)

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"

MAX_POSE_GAP_NS = 500_000_000
MAX_LIDAR_OFFSET_NS = 60_000_000
"""Largest offset of another LiDAR's cloud that is merged: half a turn at 10 Hz, and a margin for the clocks."""

_OPTIONAL_COLUMNS = ("intensity", "ring", "dt", "label", "instance")


class BagSource:
    """One sample per cloud of a bag; tokens are the clouds' stamps in nanoseconds.

    The bag is scanned once, in the constructor; ``[i]`` reads what belongs to one sample by the bag's index. Picklable.
    """

    def __init__(
        self,
        path: Path,
        *,
        num_sweeps: int = 1,
        cameras: bool = True,
        points_topics: Sequence[str] = (),
        odometry_topic: str | None = None,
    ) -> None:
        """Scans the bag.

        Args:
            path: an ``.mcap`` or ``.db3`` file, or a bag folder.
            num_sweeps: clouds per sample, fewer at the start; 1 where the bag has no poses.
            cameras: whether samples carry images.
            points_topics: topics of the clouds; empty takes ``/lidar/points`` or the only one there is. Of several, the
                first gives stamps, frame and mounting: each of its clouds is joined by the nearest of every other
                LiDAR, brought into its frame by the static transforms and, where there are poses, to its stamp.
            odometry_topic: topic of the odometry; None takes ``/odom`` or the only one there is; without any, poses
                are those of ``/tf`` for the frame that all sensors are fixed to. Clouds before the first pose and
                after the last are left out, with a warning.

        Raises:
            BagError: no bag, no such topic, several to choose from, no cloud, or no transform between ego and LiDAR.
        """
        self.path = Path(path)
        self.scene = self.path.stem
        self._reader: BagReader | None = None
        bag = self._bag
        self.points_topics = tuple(points_topics) or (_only_topic(bag, CLOUD_TYPE, layout.POINTS, "points_topics"),)
        odometry = odometry_topic or (
            _only_topic(bag, ODOMETRY_TYPE, layout.ODOMETRY, "odometry_topic")
            if ODOMETRY_TYPE in bag.topics.values()
            else None
        )
        bag.require(*self.points_topics, *([odometry] if odometry else []))
        image_topics = self._image_topics() if cameras else []
        wanted = [*self.points_topics, layout.GROUND_TRUTH_BOXES, layout.GROUND_TRUTH_DETECTIONS, *image_topics]
        self._times = self._scan(wanted)
        self._stamps_of = {topic: np.array(list(times), dtype=np.int64) for topic, times in self._times.items()}
        tree = FrameTree(self._all(layout.TF_STATIC))
        first_clouds = [self._first_cloud(topic) for topic in self.points_topics]
        lidar_frames = [cloud.header.frame_id for cloud in first_clouds]
        self._trajectory, self._ego_frame = self._read_motion(odometry, tree.root(lidar_frames[0]))
        self._mountings = [tree.transform(self._ego_frame, frame, self.path) for frame in lidar_frames]
        names = [decode_cloud(cloud).names for cloud in first_clouds]
        self._columns = ("x", "y", "z", *(c for c in _OPTIONAL_COLUMNS if all(c in found for found in names)))
        self._stamps = self._with_pose(list(self._times[self.points_topics[0]]))
        self._warn_of_gaps()
        self._num_sweeps = num_sweeps if self._trajectory is not None else 1
        self._cameras = dict(self._find_cameras(tree, image_topics))
        self._camera_offsets_ns = {topic: self._offset_ns(topic) for topic in self._cameras}
        self._class_names = tuple(self._json(layout.GROUND_TRUTH_CLASS_NAMES) or ())
        lane_map = self._json(layout.LANE_MAP)
        self._lane_map: LaneMap | None = None if lane_map is None else lane_map_from_json(lane_map, layout.LANE_MAP)

    def __len__(self) -> int:
        return len(self._stamps)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(SampleKey(str(stamp_ns), self.scene, stamp_ns) for stamp_ns in self._stamps)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"received index {index}; expected 0…{len(self) - 1}")
        stamp_ns = self._stamps[index]
        newest_first = self._stamps[max(0, index + 1 - self._num_sweeps) : index + 1][::-1]
        return Sample(
            token=str(stamp_ns),
            scene=self.scene,
            stamp_ns=stamp_ns,
            sweeps=tuple(self._sweep(s) for s in newest_first),
            cameras=tuple(self._pictures(stamp_ns)),
            annotations=self._annotations(stamp_ns),
            lane_map=self._lane_map,
        )

    def annotations(self, index: int) -> Annotations | None:
        """From the topics of ground truth; None where the bag has none for the cloud.

        Raises:
            BagError: the two topics disagree.
        """
        return self._annotations(self._stamps[index])

    def pose(self, index: int) -> LidarPose:
        return LidarPose(self._mountings[0], self._pose(self._stamps[index]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}  # an open file: every process opens its own

    @property
    def _bag(self) -> BagReader:
        if self._reader is None:
            self._reader = BagReader(self.path)
        return self._reader

    def _scan(self, topics: Iterable[str]) -> dict[str, dict[int, int]]:
        """Header stamp → recording time of each topic's messages, in order of the stamps; empty for a missing topic.

        One pass for all. Only the header is looked at: it is the first thing in the serialised message.
        """
        times: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        for topic, time_ns, raw in self._bag.raw_messages([t for t in times if t in self._bag.topics]):
            times[topic][_stamp_ns(raw)] = time_ns
        return {topic: dict(sorted(found.items())) for topic, found in times.items()}

    def _all(self, topic: str) -> Iterator[Any]:
        if topic in self._bag.topics:
            yield from (message for _, _, message in self._bag.messages([topic]))

    def _json(self, topic: str) -> Any:
        """The value of the first JSON string on a topic; None where there is none."""
        for message in self._all(topic):
            try:
                return json.loads(message.data)
            except json.JSONDecodeError as error:
                raise BagError(f"{self.path}: {topic} holds a string that is no JSON ({error})") from None
        return None

    def _read(self, topic: str, stamp_ns: int) -> Any:
        """The message of a topic with this header stamp."""
        time_ns = self._times[topic][stamp_ns]
        found = self._bag.messages([topic], start_ns=time_ns, stop_ns=time_ns + 1)
        return next(message for _, _, message in found if messages.stamp_ns(message.header) == stamp_ns)

    def _first_cloud(self, topic: str) -> Any:
        if not self._times[topic]:
            raise BagError(f"{self.path} has no cloud on {topic}; record some, or name another topic")
        return self._read(topic, next(iter(self._times[topic])))

    def _read_motion(self, odometry: str | None, sensors_frame: str) -> tuple[Trajectory | None, str]:
        """The ego's poses, and which frame is the ego's; ``sensors_frame`` is the one all sensors are fixed to."""
        if odometry is None:
            return tf_trajectory(self._all(layout.TF), sensors_frame), sensors_frame
        trajectory, frame = odometry_trajectory(self._all(odometry))
        return trajectory, frame or sensors_frame

    def _pose(self, stamp_ns: int) -> SE3 | None:
        if self._trajectory is None:
            return None
        try:
            return self._trajectory.at(stamp_ns, max_gap_ns=MAX_POSE_GAP_NS)
        except LookupError:
            return None

    def _with_pose(self, stamps: list[int]) -> list[int]:
        if self._trajectory is None:
            return stamps
        known = [stamp_ns for stamp_ns in stamps if self._pose(stamp_ns) is not None]
        if not known:
            raise BagError(
                f"{self.path}: none of {len(stamps)} clouds on {self.points_topics[0]} lies between two poses; "
                "expected odometry at the clouds' stamps: check that both use one clock"
            )
        if len(known) < len(stamps):
            warnings.warn(f"{self.path}: {len(stamps) - len(known)} clouds without a pose are left out", stacklevel=3)
        return known

    def _warn_of_gaps(self) -> None:
        for topic in self.points_topics[1:]:
            num_alone = sum(self._nearest(topic, stamp_ns, MAX_LIDAR_OFFSET_NS) is None for stamp_ns in self._stamps)
            if num_alone:
                warnings.warn(
                    f"{self.path}: {num_alone} of {len(self._stamps)} sweeps lack a cloud of {topic}", stacklevel=3
                )

    def _nearest(self, topic: str, stamp_ns: int, max_offset_ns: int) -> int | None:
        """The stamp of a topic's message nearest to another's; None where there is none near enough."""
        stamps = self._stamps_of[topic]
        after = int(np.searchsorted(stamps, stamp_ns))
        around = [int(stamp) for stamp in stamps[max(after - 1, 0) : after + 1]]
        nearest_ns = min(around, key=lambda stamp: abs(stamp - stamp_ns))
        return nearest_ns if abs(nearest_ns - stamp_ns) <= max_offset_ns else None

    def _sweep(self, stamp_ns: int) -> Sweep:
        pose = self._pose(stamp_ns)
        clouds = [self._cloud(self.points_topics[0], stamp_ns)]
        for topic, ego_SE3_other in zip(self.points_topics[1:], self._mountings[1:], strict=True):
            other_ns = self._nearest(topic, stamp_ns, MAX_LIDAR_OFFSET_NS)
            if other_ns is not None:
                points = self._cloud(topic, other_ns)
                ego_SE3_then = _motion(pose, self._pose(other_ns))
                points[:, :3] = (self._mountings[0].inverse() @ ego_SE3_then @ ego_SE3_other).transform(points[:, :3])
                if "dt" in self._columns:  # ages count from the sweep's stamp
                    points[:, self._columns.index("dt")] += np.float32((stamp_ns - other_ns) * 1e-9)
                clouds.append(points)
        points = clouds[0] if len(clouds) == 1 else np.concatenate(clouds)
        return Sweep(points, self._columns, stamp_ns, self._mountings[0], pose)

    def _cloud(self, topic: str, stamp_ns: int) -> npt.NDArray[np.float32]:
        return read_points(self._read(topic, stamp_ns), self._columns).points

    def _find_cameras(self, tree: FrameTree, topics: list[str]) -> Iterator[tuple[str, tuple[Calibration, SE3]]]:
        """Image topic → (calibration, ego_SE3_camera) of the cameras whose calibration the bag has."""
        for topic in topics:
            info = next(self._all(camera_info_topic(topic)), None)
            if info is None:
                warnings.warn(f"{self.path}: {topic} has no camera_info beside it and is left out", stacklevel=3)
                continue
            try:
                calibration = calibration_from_message(info, topic)
            except (ImageFormatError, DatasetError) as error:
                warnings.warn(f"{self.path}: {error}; its pictures are left out", stacklevel=3)
                continue
            if self._times[topic] and self._is_readable(topic):
                yield topic, (calibration, tree.transform(self._ego_frame, info.header.frame_id, self.path))

    def _is_readable(self, topic: str) -> bool:
        if self._bag.topics[topic] != RAW_TYPE:
            return True
        encoding = self._read(topic, next(iter(self._times[topic]))).encoding
        if encoding not in RAW_ENCODINGS:
            warnings.warn(
                f"{self.path}: {topic} has encoding {encoding}, none of {', '.join(RAW_ENCODINGS)}, and is left out",
                stacklevel=4,
            )
        return encoding in RAW_ENCODINGS

    def _image_topics(self) -> list[str]:
        """One topic for each camera: the compressed one of two."""
        topics = self._bag.topics.items()
        compressed = [topic for topic, kind in topics if kind == COMPRESSED_TYPE]
        known = {camera_name(topic) for topic in compressed}
        return compressed + [t for t, kind in topics if kind == RAW_TYPE and camera_name(t) not in known]

    def _offset_ns(self, topic: str) -> int:
        """How far a camera's pictures usually are off the clouds, nanoseconds; see ``picture_times``."""
        nearest = ((stamp_ns, self._nearest(topic, stamp_ns, MAX_OFFSET_NS)) for stamp_ns in self._stamps)
        return usual_offset_ns(at_ns - stamp_ns for stamp_ns, at_ns in nearest if at_ns is not None)

    def _pictures(self, stamp_ns: int) -> Iterator[CameraImage]:
        for topic, (calibration, ego_SE3_camera) in self._cameras.items():
            nearest_ns = self._nearest(topic, stamp_ns + self._camera_offsets_ns[topic], round(SLOP_S * 1e9))
            if nearest_ns is None:
                continue
            read = partial(self._read, topic, nearest_ns)
            yield CameraImage(
                name=camera_name(topic),
                load=BagPicture(read, calibration),
                intrinsics=calibration.intrinsics,
                width=calibration.width,
                height=calibration.height,
                stamp_ns=nearest_ns,
                ego_SE3_camera=ego_SE3_camera,
                world_SE3_ego=self._pose(nearest_ns),
            )

    def _annotations(self, stamp_ns: int) -> Annotations | None:
        """The ground truth of one cloud; None where the bag has none for it."""
        if not self._class_names or stamp_ns not in self._times[layout.GROUND_TRUTH_DETECTIONS]:
            return None
        detections = self._read(layout.GROUND_TRUTH_DETECTIONS, stamp_ns)
        ids = tuple(str(detection.id) for detection in detections.detections)
        if stamp_ns not in self._times[layout.GROUND_TRUTH_BOXES]:
            boxes = messages.boxes_from_detections(detections, self._class_names)
            return Annotations(boxes, ids, np.full(len(ids), -1), np.full(len(ids), np.nan, np.float32))
        boxes, extra = self._read_boxes(stamp_ns, len(ids))
        num_lidar_pts = extra.get("num_lidar_pts", np.full(len(ids), -1)).astype(np.int64)
        return Annotations(boxes, ids, num_lidar_pts, extra.get("visibility", np.full(len(ids), np.nan, np.float32)))

    def _read_boxes(self, stamp_ns: int, num_ids: int) -> tuple[Boxes3D, dict[str, npt.NDArray[np.float32]]]:
        cloud = self._read(layout.GROUND_TRUTH_BOXES, stamp_ns)
        boxes, extra = messages.boxes_from_cloud(cloud, self._class_names)
        if len(boxes) != num_ids:
            raise BagError(
                f"{self.path}: received {len(boxes)} boxes and {num_ids} detections at {stamp_ns} ns; expected one "
                "detection per box: record both topics completely"
            )
        return boxes, extra


def _motion(world_SE3_now: SE3 | None, world_SE3_then: SE3 | None) -> SE3:
    """``now_SE3_then``; the identity where one of the two is not known."""
    if world_SE3_now is None or world_SE3_then is None:
        return SE3.identity()
    return world_SE3_now.inverse() @ world_SE3_then


def _only_topic(bag: BagReader, message_type: str, preferred: str, option: str) -> str:
    """The topic of a type: the preferred name, or the only one that is no ground truth."""
    found = [t for t, kind in bag.topics.items() if kind == message_type and not t.startswith("/ground_truth/")]
    if preferred in found:
        return preferred
    if len(found) == 1:
        return found[0]
    topics = ", ".join(f"{t} ({kind})" for t, kind in bag.topics.items()) or "none"
    raise BagError(
        f"{bag.path} has {len(found)} topics of type {message_type}; expected {preferred} or a single one. "
        f"Topics found: {topics}. Name the one to use: {option}, on the command line --{option.replace('_', '-')}"
    )


def _stamp_ns(raw: bytes) -> int:
    """The header's stamp of a serialised message that starts with a std_msgs/Header."""
    order = "little" if raw[1] & 1 else "big"
    seconds = int.from_bytes(raw[4:8], order, signed=True)  # type: ignore[arg-type]
    return seconds * 1_000_000_000 + int.from_bytes(raw[8:12], order)  # type: ignore[arg-type]
