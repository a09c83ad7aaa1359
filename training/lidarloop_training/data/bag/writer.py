"""Writes any source as a ROS 2 bag (MCAP) that the node can be fed with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import messages
from lidarloop_core.io.bag import LATCHED_TOPICS, BagWriter, message_type
from lidarloop_core.io.camera_messages import camera_info_topic
from lidarloop_core.io.images import encoded
from lidarloop_core.io.lane_map import lane_map_json
from lidarloop_core.sample import Annotations, CameraImage, Sample, SampleSource, Sweep
from lidarloop_training.data.bag import layout
from lidarloop_training.data.writing.render import Need, render

_Message = tuple[str, int, Any]  # topic, time in nanoseconds, message
_Twist = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # m/s and rad/s in the ego frame


def write_bag(
    source: SampleSource,
    path: Path,
    *,
    cameras: bool = True,
    num_workers: int = 0,
    provenance: Mapping[str, Any] | None = None,
    on_sample: Callable[[Sample], None] = lambda _: None,
) -> Path:
    """Writes every sweep of a source once, with all that belongs to it.

    ``/lidar/points``, ``/camera/<name>/image/compressed`` and ``camera_info``, ``/odom`` with twist, ``/tf``,
    ``/tf_static``, ``/lane_map``, ``/ground_truth/{detections,boxes,class_names}``: each as far as the source has it.
    The world frame of the samples becomes ``odom``. Messages are timed by their stamps; a pose comes before the data
    taken from it. A picture that the source has as JPEG or PNG is copied, any other becomes a JPEG.

    Args:
        source: samples of one scene in order of time. A sample's older sweeps are written too, unless they were
            already.
        path: ``….mcap``; it appears when it is complete. Equal sources give equal bytes.
        cameras: whether pictures are written.
        num_workers: processes that render frames; 0 renders in this one. The bytes do not depend on it.
        provenance: where the data comes from, kept as JSON on ``/lidarloop/provenance``.
        on_sample: called with each sample when it is written.

    Returns:
        ``path``.

    Raises:
        DatasetError: the source has no frame, frames of several scenes, or a frame earlier than the one before it.
    """
    if len(source) == 0:
        raise DatasetError("received a source without a frame; expected at least one")
    samples = render(source, [Need(i, cameras) for i in range(len(source))], num_workers)
    path = Path(path)
    with BagWriter(path, latched_topics={*LATCHED_TOPICS, layout.PROVENANCE}) as bag:
        stamps_of_pictures: dict[str, int] = {}
        latched: dict[str, Any] = {}
        for frame in _with_twist(_frames(samples)):
            pending = list(_latched(frame, provenance or {}, latched))
            pending += _sweep_messages(frame)
            for image in frame.sample.cameras if frame.is_keyframe else ():
                if image.stamp_ns > stamps_of_pictures.get(image.name, -1):
                    stamps_of_pictures[image.name] = image.stamp_ns
                    pending += _image_messages(image, frame)
            if frame.is_keyframe and frame.sample.annotations is not None:
                pending += _annotation_messages(frame.sample.annotations, frame.sweep.stamp_ns)
            for message in sorted(pending, key=lambda m: m[1]):  # stable: a pose stays before its data
                bag.write(*message)
            if frame.is_keyframe:
                on_sample(frame.sample)
    return path


@dataclasses.dataclass(frozen=True)
class _Frame:
    """One sweep to write.

    Attributes:
        sample: the sample the sweep came with.
        is_keyframe: whether it is that sample's newest, to which images and annotations belong.
        twist: velocity in the ego frame, m/s and rad/s; None where there is no ego-motion.
    """

    sweep: Sweep
    sample: Sample
    is_keyframe: bool
    twist: _Twist | None = None


def _frames(samples: Iterable[Sample]) -> Iterator[_Frame]:
    """Every sweep once, in order of time. What comes too early would be taken for a sweep that is written already."""
    last_ns, scene = -1, None
    for sample in samples:
        if scene is not None and sample.scene != scene:
            raise DatasetError(
                f"{sample.token}: received a frame of scene {sample.scene} after those of {scene}; expected one scene, "
                "for frames of another are of another time and place: write a bag of each"
            )
        if sample.stamp_ns < last_ns:
            raise DatasetError(
                f"{sample.token}: received a frame at {sample.stamp_ns} ns after one at {last_ns} ns; expected frames "
                "in order of time: sort them by their stamps"
            )
        scene = sample.scene
        for sweep in reversed(sample.sweeps):
            if sweep.stamp_ns > last_ns:
                last_ns = sweep.stamp_ns
                yield _Frame(sweep, sample, is_keyframe=sweep is sample.keyframe)


def _with_twist(frames: Iterator[_Frame]) -> Iterator[_Frame]:
    """Adds each frame's velocity: the difference of the poses before and after it, at the ends that of one side."""
    before: _Frame | None = None
    frame: _Frame | None = next(frames)
    while frame is not None:
        after = next(frames, None)
        first, last = before or frame, after or frame
        yield dataclasses.replace(frame, twist=_twist(first.sweep, frame.sweep, last.sweep))
        before, frame = frame, after


def _twist(first: Sweep, now: Sweep, last: Sweep) -> _Twist | None:
    if first.world_SE3_ego is None or now.world_SE3_ego is None or last.world_SE3_ego is None:
        return None
    duration_s = (last.stamp_ns - first.stamp_ns) * 1e-9
    if duration_s == 0:
        return np.zeros(3), np.zeros(3)
    travelled = last.world_SE3_ego.translation - first.world_SE3_ego.translation
    turned = Rotation.from_matrix(first.world_SE3_ego.rotation.T @ last.world_SE3_ego.rotation).as_rotvec()
    return now.world_SE3_ego.rotation.T @ travelled / duration_s, turned / duration_s


def _latched(frame: _Frame, provenance: Mapping[str, Any], written: dict[str, Any]) -> Iterator[_Message]:
    """Messages that are written when their content is first known; mountings also when they change.

    ``written`` holds the content of each topic so far, and is kept up to date.
    """
    sample, time_ns = frame.sample, frame.sweep.stamp_ns
    if layout.PROVENANCE not in written:
        written[layout.PROVENANCE] = {"scene": sample.scene, **provenance}
        yield layout.PROVENANCE, time_ns, _string(written[layout.PROVENANCE])
    yield from _mounting_messages(frame, written)
    if layout.LANE_MAP not in written and sample.lane_map is not None:
        written[layout.LANE_MAP] = sample.lane_map
        yield layout.LANE_MAP, time_ns, _string(lane_map_json(sample.lane_map, layout.WORLD_FRAME))
    if layout.GROUND_TRUTH_CLASS_NAMES not in written and sample.annotations is not None:
        written[layout.GROUND_TRUTH_CLASS_NAMES] = sample.annotations.boxes.class_names
        yield layout.GROUND_TRUTH_CLASS_NAMES, time_ns, _string(sample.annotations.boxes.class_names)


def _mounting_messages(frame: _Frame, written: dict[str, Any]) -> Iterator[_Message]:
    """All mountings known so far, where one of them is new or has changed; a latched topic keeps its last message."""
    known: dict[str, SE3] = written.get(layout.TF_STATIC, {})
    found = {layout.LIDAR_FRAME: frame.sweep.ego_SE3_lidar}
    found |= {layout.camera_frame(c.name): c.ego_SE3_camera for c in frame.sample.cameras}
    if all(child in known and np.array_equal(known[child].matrix, pose.matrix) for child, pose in found.items()):
        return
    mountings = written[layout.TF_STATIC] = {**known, **found}
    time_ns = frame.sweep.stamp_ns
    if known:  # it holds for the frame's images too, which may be older than its cloud
        time_ns = min([time_ns, *(camera.stamp_ns for camera in frame.sample.cameras)])
    transforms = [(layout.EGO_FRAME, child, pose) for child, pose in mountings.items()]
    yield layout.TF_STATIC, time_ns, messages.transforms_message(transforms, time_ns, message_type)


def _string(value: Any) -> Any:
    return messages.string_message(value, message_type)


def _sweep_messages(frame: _Frame) -> Iterator[_Message]:
    sweep = frame.sweep
    yield from _pose_messages(sweep.world_SE3_ego, frame.twist, sweep.stamp_ns)
    columns: dict[str, npt.NDArray[Any]] = {name: sweep.points[:, i] for i, name in enumerate(sweep.columns)}
    if "ring" in columns:
        ring = columns.pop("ring")
        if (ring >= 0).all():  # nuScenes tables hold -1 where the sensor gives no ring
            columns["ring"] = ring.astype(np.uint16)
    cloud = messages.cloud_message(columns, sweep.stamp_ns, layout.LIDAR_FRAME, message_type)
    yield layout.POINTS, sweep.stamp_ns, cloud


def _pose_messages(world_SE3_ego: SE3 | None, twist: _Twist | None, time_ns: int) -> Iterator[_Message]:
    if world_SE3_ego is None or twist is None:
        return
    linear_mps, angular_radps = (values.tolist() for values in twist)
    odometry = messages.odometry_message(world_SE3_ego, linear_mps, angular_radps, time_ns, message_type)
    yield layout.ODOMETRY, time_ns, odometry
    transforms = [(layout.WORLD_FRAME, layout.EGO_FRAME, world_SE3_ego)]
    yield layout.TF, time_ns, messages.transforms_message(transforms, time_ns, message_type)


def _image_messages(image: CameraImage, frame: _Frame) -> Iterator[_Message]:
    time_ns, frame_id, topic = image.stamp_ns, layout.camera_frame(image.name), layout.image_topic(image.name)
    if time_ns != frame.sweep.stamp_ns:
        yield from _pose_messages(image.world_SE3_ego, frame.twist, time_ns)
    info = messages.camera_info_message(image.intrinsics, image.width, image.height, time_ns, frame_id, message_type)
    yield camera_info_topic(topic), time_ns, info
    picture = encoded(image)
    message = messages.image_message(picture.data, time_ns, frame_id, message_type)
    yield topic, time_ns, dataclasses.replace(message, format=picture.format)


def _annotation_messages(annotations: Annotations, time_ns: int) -> Iterator[_Message]:
    boxes, frame_id = annotations.boxes, layout.LIDAR_FRAME
    detections = messages.detections_message(boxes, time_ns, frame_id, message_type, annotations.instance_ids)
    yield layout.GROUND_TRUTH_DETECTIONS, time_ns, detections
    extra: dict[str, npt.NDArray[Any]] = {
        "num_lidar_pts": annotations.num_lidar_pts,
        "visibility": annotations.visibility,
    }
    cloud = messages.boxes_cloud_message(boxes, extra, time_ns, frame_id, message_type)
    yield layout.GROUND_TRUTH_BOXES, time_ns, cloud
