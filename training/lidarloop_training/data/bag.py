"""ROS 2 bags as samples: those we write, and any recording with a PointCloud2 topic.

What else a bag holds is used: odometry and static transforms for poses, compressed pictures with their camera_info,
our ground truth and lane map. Intensities are taken as they were recorded; ours are 0–255.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagReader
from lidarloop_core.pointcloud.decode import decode_cloud, read_points
from lidarloop_core.sample import Annotations, CameraImage, LaneMap, Sample, Sweep
from lidarloop_training.data import bag_layout as layout
from lidarloop_training.data.images import EncodedImage

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
IMAGE_TYPE = "sensor_msgs/msg/CompressedImage"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"

MAX_POSE_GAP_NS = 500_000_000
MAX_CAMERA_OFFSET_NS = 100_000_000

_OPTIONAL_COLUMNS = ("intensity", "ring", "dt")


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
        points_topic: str | None = None,
        odometry_topic: str | None = None,
    ) -> None:
        """Scans the bag.

        Args:
            path: an ``.mcap`` or ``.db3`` file, or a bag folder.
            num_sweeps: clouds per sample, fewer at the start; 1 where the bag has no odometry.
            cameras: whether samples carry pictures.
            points_topic: of the clouds; None takes ``/lidar/points`` or the only one there is.
            odometry_topic: None takes ``/odom`` or the only one there is, if there is one. Clouds before its first pose
                and after its last are left out, with a warning.

        Raises:
            BagError: no bag, no such topic, several to choose from, no cloud, or no transform between ego and LiDAR.
        """
        self.path = Path(path)
        self.scene = self.path.stem
        self._reader: BagReader | None = None
        bag = self._bag
        self.points_topic = points_topic or _only_topic(bag, CLOUD_TYPE, layout.POINTS)
        odometry = odometry_topic or (
            _only_topic(bag, ODOMETRY_TYPE, layout.ODOMETRY) if ODOMETRY_TYPE in bag.topics.values() else None
        )
        bag.require(self.points_topic, *([odometry] if odometry else []))
        wanted = [self.points_topic, layout.GROUND_TRUTH_BOXES, layout.GROUND_TRUTH_DETECTIONS]
        self._times = self._scan([*wanted, *(self._image_topics() if cameras else ())])
        if not self._times[self.points_topic]:
            raise BagError(f"{self.path} has no cloud on {self.points_topic}; record some, or name another topic")
        tree = _FrameTree(self._all(layout.TF_STATIC))
        self._trajectory, ego_frame = self._read_odometry(odometry)
        first = self._read(self.points_topic, next(iter(self._times[self.points_topic])))
        lidar_frame = first.header.frame_id
        self._ego_frame = ego_frame or tree.root(lidar_frame)
        self._ego_SE3_lidar = tree.transform(self._ego_frame, lidar_frame, self.path)
        self._columns = ("x", "y", "z", *(c for c in _OPTIONAL_COLUMNS if c in decode_cloud(first).names))
        self._stamps = self._with_pose(list(self._times[self.points_topic]))
        self._num_sweeps = num_sweeps if self._trajectory is not None else 1
        self._cameras = dict(self._find_cameras(tree)) if cameras else {}
        self._class_names = tuple(self._json(layout.GROUND_TRUTH_CLASS_NAMES) or ())
        lane_map = self._json(layout.LANE_MAP)
        self._lane_map: LaneMap | None = None if lane_map is None else layout.lane_map_from_json(lane_map)

    def __len__(self) -> int:
        return len(self._stamps)

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

    def _read_odometry(self, topic: str | None) -> tuple[Trajectory | None, str | None]:
        if topic is None:
            return None, None
        trajectory, frame = Trajectory(), None
        for message in self._all(topic):
            trajectory.add(messages.stamp_ns(message.header), messages.pose_from_message(message.pose.pose))
            frame = message.child_frame_id
        return trajectory, frame

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
                f"{self.path}: none of {len(stamps)} clouds on {self.points_topic} lies between two poses; "
                "expected odometry at the clouds' stamps: check that both use one clock"
            )
        if len(known) < len(stamps):
            warnings.warn(f"{self.path}: {len(stamps) - len(known)} clouds without a pose are left out", stacklevel=3)
        return known

    def _sweep(self, stamp_ns: int) -> Sweep:
        points = read_points(self._read(self.points_topic, stamp_ns), self._columns).points
        return Sweep(points, self._columns, stamp_ns, self._ego_SE3_lidar, self._pose(stamp_ns))

    def _find_cameras(self, tree: _FrameTree) -> Iterator[tuple[str, tuple[Any, SE3]]]:
        """Image topic → (camera_info, ego_SE3_camera) of the cameras whose calibration the bag has."""
        for topic in self._image_topics():
            info = next(self._all(layout.camera_info_topic(topic)), None)
            if info is None:
                warnings.warn(f"{self.path}: {topic} has no camera_info beside it and is left out", stacklevel=3)
            elif self._times[topic]:
                yield topic, (info, tree.transform(self._ego_frame, info.header.frame_id, self.path))

    def _image_topics(self) -> list[str]:
        return [topic for topic, kind in self._bag.topics.items() if kind == IMAGE_TYPE]

    def _pictures(self, stamp_ns: int) -> Iterator[CameraImage]:
        for topic, (info, ego_SE3_camera) in self._cameras.items():
            stamps = np.fromiter(self._times[topic], dtype=np.int64)
            nearest_ns = int(stamps[np.abs(stamps - stamp_ns).argmin()])
            if abs(nearest_ns - stamp_ns) > MAX_CAMERA_OFFSET_NS:
                continue
            yield CameraImage(
                name=layout.camera_name(topic),
                load=_BagPicture(self, topic, nearest_ns),
                intrinsics=np.array(info.k, dtype=np.float64).reshape(3, 3),
                width=info.width,
                height=info.height,
                stamp_ns=nearest_ns,
                ego_SE3_camera=ego_SE3_camera,
                world_SE3_ego=self._pose(nearest_ns),
            )

    def read_picture(self, topic: str, stamp_ns: int) -> EncodedImage:
        """The compressed picture of a topic with this header stamp."""
        message = self._read(topic, stamp_ns)
        return EncodedImage(bytes(message.data), "png" if "png" in message.format else "jpeg")

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
                "detection per box: record both topics whole"
            )
        return boxes, extra


@dataclass(frozen=True)
class _BagPicture:
    """A picture that is read when somebody looks at it."""

    source: BagSource
    topic: str
    stamp_ns: int

    def __call__(self) -> npt.NDArray[np.uint8]:
        return self.encoded()()

    def encoded(self) -> EncodedImage:
        return self.source.read_picture(self.topic, self.stamp_ns)


class _FrameTree:
    """The static transforms of a bag."""

    def __init__(self, transform_messages: Iterator[Any]) -> None:
        self._parents: dict[str, tuple[str, SE3]] = {}
        for message in transform_messages:
            for stamped in message.transforms:
                pose = messages.transform_from_message(stamped.transform)
                self._parents[stamped.child_frame_id] = (stamped.header.frame_id, pose)

    def root(self, frame: str) -> str:
        """The frame above all others that ``frame`` is fixed to."""
        return self._to_root(frame)[0]

    def transform(self, dst: str, src: str, path: Path) -> SE3:
        """``dst_SE3_src``. Raises BagError where no static transforms join the two; ``path`` is named in it."""
        dst_root, root_SE3_dst = self._to_root(dst)
        src_root, root_SE3_src = self._to_root(src)
        if dst_root != src_root:
            known = ", ".join(f"{parent}→{child}" for child, (parent, _) in self._parents.items()) or "none"
            raise BagError(
                f"{path}: no static transform leads from {dst} to {src}; found {known}: record {layout.TF_STATIC}"
            )
        return root_SE3_dst.inverse() @ root_SE3_src

    def _to_root(self, frame: str) -> tuple[str, SE3]:
        pose, seen = SE3.identity(), {frame}
        while frame in self._parents:
            frame, parent_SE3_frame = self._parents[frame]
            pose = parent_SE3_frame @ pose
            if frame in seen:
                raise BagError(f"{layout.TF_STATIC} goes in a circle through {frame}; expected a tree of frames")
            seen.add(frame)
        return frame, pose


def _only_topic(bag: BagReader, message_type: str, preferred: str) -> str:
    """The topic of a type: the preferred name, or the only one that is no ground truth."""
    found = [t for t, kind in bag.topics.items() if kind == message_type and not t.startswith("/ground_truth/")]
    if preferred in found:
        return preferred
    if len(found) == 1:
        return found[0]
    topics = ", ".join(f"{t} ({kind})" for t, kind in bag.topics.items()) or "none"
    raise BagError(
        f"{bag.path} has {len(found)} topics of type {message_type}; expected {preferred} or a single one. "
        f"Topics found: {topics}. Name the one to use"
    )


def _stamp_ns(raw: bytes) -> int:
    """The header's stamp of a serialised message that starts with a std_msgs/Header."""
    order = "little" if raw[1] & 1 else "big"
    seconds = int.from_bytes(raw[4:8], order, signed=True)  # type: ignore[arg-type]
    return seconds * 1_000_000_000 + int.from_bytes(raw[8:12], order)  # type: ignore[arg-type]
