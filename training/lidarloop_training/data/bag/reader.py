"""ROS 2 bags as samples: those we write, and any recording with a PointCloud2 topic.

What else a bag holds is used: odometry or TF for poses, static transforms for mountings, pictures with their
camera_info, our ground truth and lane map. Several LiDARs become one sweep. Intensities are taken as they were
recorded; ours are 0–255.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io import messages, outside
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.camera_messages import camera_name
from lidarloop_core.io.lane_map import lane_map_from_json
from lidarloop_core.labelling.picture_times import MAX_OFFSET_NS, SLOP_S, usual_offset_ns
from lidarloop_core.pointcloud.point_time import PointTimeSettings
from lidarloop_core.sample import Annotations, CameraImage, LaneMap, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.bag import cameras as cameras_of
from lidarloop_training.data.bag import layout, topics
from lidarloop_training.data.bag.cameras import BagCamera
from lidarloop_training.data.bag.columns import CloudFields
from lidarloop_training.data.bag.deskewing import BagDeskewing
from lidarloop_training.data.bag.frame_tree import FrameTree, Problems, odometry_trajectory, tf_trajectory
from lidarloop_training.data.bag.pictures import BagPicture
from lidarloop_training.data.bag.stamps import Stamps, Times, require_plausible, scan

MAX_POSE_GAP_NS = 500_000_000
MAX_LIDAR_OFFSET_NS = 60_000_000
"""Largest offset of another LiDAR's cloud that is merged: half a turn at 10 Hz, and a margin for the clocks."""


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
        stamps: Stamps = "header",
        point_times: PointTimeSettings | None = None,
    ) -> None:
        """Scans the bag.

        Args:
            path: an ``.mcap`` or ``.db3`` file, or a bag folder.
            num_sweeps: clouds per sample, fewer at the start; 1 where the bag has no poses.
            cameras: whether samples carry images.
            points_topics: topics of the clouds; empty takes ``/lidar/points`` or the only one there is. Of several, the
                first gives stamps, frame and mounting: each of its clouds is joined by the nearest of every other
                LiDAR, brought into its frame by the static transforms and, where there are poses, to its stamp.
            odometry_topic: topic of the odometry, or a /tf topic; None takes ``/odom`` or the only one that has
                messages; without any, poses are those of ``/tf`` for the frame that all sensors are fixed to. ``none``
                does without poses. Clouds before the first pose and after the last are left out, with a warning.
            stamps: whether messages are timed by their headers or by when they were received.
            point_times: with it, the vehicle's motion during a sweep is taken out of the clouds, by the time of each
                point; None takes clouds as they are.

        Raises:
            BagError: no bag, no such topic, one of another type or without messages, several to choose from, no cloud,
                implausible stamps, no transform between ego and LiDAR, or clouds that cannot be deskewed.
        """
        self.path = Path(path)
        self.scene = self.path.stem
        self._reader: BagReader | None = None
        self._by_reception = stamps == "reception"
        bag, problems = self._bag, Problems()
        self.points_topics = tuple(points_topics) or (topics.points_topic(bag),)
        for topic in self.points_topics:
            topics.require(bag, topic, "points_topics", topics.CLOUD_TYPE)
        motion = self._motion_topic(odometry_topic)
        image_topics = cameras_of.image_topics(bag) if cameras else []
        self._foreign = topics.foreign(bag)
        truth: dict[str, Times] = {layout.GROUND_TRUTH_BOXES: {}, layout.GROUND_TRUTH_DETECTIONS: {}}
        timed = [*self.points_topics, *(t for t in truth if t not in self._foreign), *image_topics]
        self._times = truth | scan(bag, timed, stamps, problems)
        for topic in self.points_topics:
            require_plausible(self.path, topic, self._times[topic], bag.message_counts[topic])
        self._stamps_of = {topic: np.array(list(times), dtype=np.int64) for topic, times in self._times.items()}
        self._tree = FrameTree(self._transforms(layout.TF_STATIC), problems)
        first_clouds = [self._first_cloud(topic) for topic in self.points_topics]
        self._lidar_frames = [cloud.header.frame_id for cloud in first_clouds]
        self._found_cameras = list(cameras_of.find_cameras(bag, image_topics, self._times, self._read, stamps))
        self._take_constant_tf()
        self._trajectory, self._ego_frame = self._read_motion(motion, problems)
        for frame in self._lidar_frames:
            self._tree.transform(self._ego_frame, frame, self.path)
        self._fields = self._read_fields(first_clouds)
        self._columns = self._fields[0].columns
        self._deskewing: BagDeskewing | None = None
        if point_times is not None:
            self._deskewing = BagDeskewing(self.path, point_times, first_clouds, self._trajectory, MAX_POSE_GAP_NS)
            self._columns = tuple(c for c in self._columns if c != "dt")  # all points are at the stamp then
            self._fields = [fields.only(self._columns) for fields in self._fields]
        self._stamps = self._with_pose(list(self._times[self.points_topics[0]]))
        self._warn_of_gaps()
        self._num_sweeps = num_sweeps if self._trajectory is not None else 1
        self._cameras = self._mounted_cameras()
        for line in problems.lines():
            warnings.warn(f"{self.path}: {line}", stacklevel=2)
        self._camera_offsets_ns = {camera.topic: self._offset_ns(camera.topic) for camera in self._cameras}
        self._class_names = self._read_class_names()
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
        return LidarPose(self._mounting(0, self._stamps[index]), self._pose(self._stamps[index]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}  # an open file: every process opens its own

    @property
    def _bag(self) -> BagReader:
        if self._reader is None:
            self._reader = BagReader(self.path)
        return self._reader

    def _all(self, topic: str) -> Iterator[Any]:
        if topic in self._bag.topics and topic not in self._foreign:
            yield from (message for _, _, message in self._bag.messages([topic]))

    def _timed(self, topic: str) -> Iterator[tuple[int, Any]]:
        """(time of recording in nanoseconds, message) of each on a topic."""
        if topic in self._bag.topics:
            yield from ((time_ns, message) for _, time_ns, message in self._bag.messages([topic]))

    def _transforms(self, topic: str) -> Iterator[tuple[int, Any]]:
        """The same of a topic of transforms; none where it has messages of another type."""
        return iter(()) if topic in self._foreign else self._timed(topic)

    def _read_class_names(self) -> tuple[str, ...]:
        names = self._json(layout.GROUND_TRUTH_CLASS_NAMES)
        if names is None:
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BagError(
                f"{self.path}: {layout.GROUND_TRUTH_CLASS_NAMES} holds {str(names)[:80]}; expected a list of names: "
                "record or convert the bag again"
            )
        return tuple(names)

    def _json(self, topic: str) -> Any:
        """The value of the first JSON string on a topic; None where there is none."""
        for message in self._all(topic):
            try:
                return outside.parse_json(message.data)
            except ValueError as error:
                raise BagError(f"{self.path}: {topic} holds a string that is no JSON ({error})") from None
        return None

    def _read(self, topic: str, stamp_ns: int) -> Any:
        """The message of a topic with this header stamp."""
        time_ns = self._times[topic][stamp_ns]
        found = self._bag.messages([topic], start_ns=time_ns, stop_ns=time_ns + 1)
        if self._by_reception:
            return next(message for _, _, message in found)
        return next(message for _, _, message in found if messages.stamp_ns(message.header) == stamp_ns)

    def _first_cloud(self, topic: str) -> Any:
        if not self._times[topic]:
            raise BagError(f"{self.path} has no cloud on {topic}; record some, or name another topic")
        return self._read(topic, next(iter(self._times[topic])))

    def _motion_topic(self, named: str | None) -> str | None:
        """The topic that poses are read from; None for ``/tf``, NO_ODOMETRY for no poses."""
        if named == topics.NO_ODOMETRY:
            return named
        if named is None:
            return topics.odometry_topic(self._bag)
        topics.require(self._bag, named, "odometry_topic", topics.ODOMETRY_TYPE, topics.TF_TYPE)
        return named

    def _read_motion(self, topic: str | None, problems: Problems) -> tuple[Trajectory | None, str]:
        """The ego's poses, and which frame is the ego's."""
        sensors_frame = self._tree.root(self._lidar_frames[0])
        if topic == topics.NO_ODOMETRY:
            return None, sensors_frame
        if topic is None or self._bag.topics[topic] == topics.TF_TYPE:
            timed = self._transforms(topic or layout.TF)
            return tf_trajectory(timed, sensors_frame, problems, by_reception=self._by_reception), sensors_frame
        stamped = (
            (time_ns if self._by_reception else messages.stamp_ns(message.header), message)
            for time_ns, message in self._timed(topic)
        )
        trajectory, frame = odometry_trajectory(stamped, topic, problems)
        if not len(trajectory):
            raise BagError(
                f"{self.path}: none of the {self._bag.message_counts[topic]} poses on {topic} is a rigid transform; "
                "expected a normalised quaternion and finite numbers: name another odometry_topic, or none"
            )
        return trajectory, frame or sensors_frame

    def _take_constant_tf(self) -> None:
        """Mountings that are on ``/tf`` alone, as in bags converted from ROS 1."""
        frames = [*self._lidar_frames, *(camera.frame for camera in self._found_cameras)]
        missing = [frame for frame in frames if frame not in self._tree]
        taken = self._tree.add_constant(self._transforms(layout.TF), missing) if missing else []
        if taken:
            warnings.warn(
                f"{self.path}: {', '.join(taken)} on {layout.TF} never change and are taken as static", stacklevel=3
            )

    def _mounting(self, number: int, stamp_ns: int) -> SE3:
        """``ego_SE3_lidar`` of one LiDAR when its cloud with this stamp was recorded."""
        time_ns = self._times[self.points_topics[number]][stamp_ns]
        return self._tree.transform(self._ego_frame, self._lidar_frames[number], self.path, time_ns)

    def _read_fields(self, clouds: list[Any]) -> list[CloudFields]:
        """Each LiDAR's fields for the columns that all have."""
        fields = [CloudFields.of(cloud) for cloud in clouds]
        for topic, found in zip(self.points_topics, fields, strict=True):
            if remarks := found.remarks():
                warnings.warn(f"{self.path}: {topic}: {', '.join(remarks)}", stacklevel=3)
        common = [c for c in fields[0].columns if all(c in found.columns for found in fields)]
        return [found.only(common) for found in fields]

    def _mounted_cameras(self) -> list[BagCamera]:
        """The cameras that the bag has a mounting for."""
        mounted = []
        for camera in self._found_cameras:
            try:
                self._tree.transform(self._ego_frame, camera.frame, self.path)
            except BagError as error:
                warnings.warn(f"{error}; {camera.topic} is left out", stacklevel=3)
                continue
            mounted.append(camera)
        return mounted

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
                f"{self.path}: none of {len(stamps)} clouds on {self.points_topics[0]} lies between two poses: the "
                f"clouds are stamped {stamps[0] * 1e-9:.3f}…{stamps[-1] * 1e-9:.3f} s, the {len(self._trajectory)} "
                f"poses {self._trajectory.span()}; expected odometry at the clouds' stamps: check that both use one "
                "clock, name another odometry_topic, or none"
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
        mounting = self._mounting(0, stamp_ns)
        clouds = [self._cloud(0, stamp_ns)]
        for number, topic in enumerate(self.points_topics[1:], start=1):
            other_ns = self._nearest(topic, stamp_ns, MAX_LIDAR_OFFSET_NS)
            if other_ns is not None:
                points = self._cloud(number, other_ns)
                # What is deskewed is joined as it was measured: the motion is taken out of all of it below.
                ego_SE3_then = SE3.identity() if self._deskewing else _motion(pose, self._pose(other_ns))
                lidar_SE3_other = mounting.inverse() @ ego_SE3_then @ self._mounting(number, other_ns)
                points[:, :3] = lidar_SE3_other.transform(points[:, :3])
                if "dt" in self._columns:  # ages count from the sweep's stamp
                    points[:, self._columns.index("dt")] += np.float32((stamp_ns - other_ns) * 1e-9)
                if self._deskewing:
                    points[:, -1] += np.float32((other_ns - stamp_ns) * 1e-9)
                clouds.append(points)
        points = clouds[0] if len(clouds) == 1 else np.concatenate(clouds)
        sweep = Sweep(points, self._columns, stamp_ns, mounting, pose)
        return sweep if self._deskewing is None else self._deskewing.deskewed(points, self._columns, sweep)

    def _cloud(self, number: int, stamp_ns: int) -> npt.NDArray[np.float32]:
        """(N, C) points; with a column of times after the columns where they are deskewed."""
        if self._deskewing is not None:
            message = self._read(self.points_topics[number], stamp_ns)
            return self._deskewing.read(number, message, self._fields[number].fields)
        return self._fields[number].read(self._read(self.points_topics[number], stamp_ns))

    def _offset_ns(self, topic: str) -> int:
        """How far a camera's pictures usually are off the clouds, nanoseconds; see ``picture_times``."""
        nearest = ((stamp_ns, self._nearest(topic, stamp_ns, MAX_OFFSET_NS)) for stamp_ns in self._stamps)
        return usual_offset_ns(at_ns - stamp_ns for stamp_ns, at_ns in nearest if at_ns is not None)

    def _pictures(self, stamp_ns: int) -> Iterator[CameraImage]:
        for camera in self._cameras:
            due_ns = stamp_ns + self._camera_offsets_ns[camera.topic]
            nearest_ns = self._nearest(camera.topic, due_ns, round(SLOP_S * 1e9))
            if nearest_ns is None:
                continue
            time_ns = self._times[camera.topic][nearest_ns]
            calibration = camera.calibration(nearest_ns, time_ns)
            if calibration is None:
                continue
            read = partial(self._read, camera.topic, nearest_ns)
            yield CameraImage(
                name=camera_name(camera.topic),
                load=BagPicture(read, calibration),
                intrinsics=calibration.intrinsics,
                width=calibration.width,
                height=calibration.height,
                stamp_ns=nearest_ns,
                ego_SE3_camera=self._tree.transform(self._ego_frame, camera.frame, self.path, time_ns),
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
