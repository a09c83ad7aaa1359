"""Our types ↔ ROS messages: one implementation for rclpy's classes and for rosbags'.

Functions that make messages take ``types``: a lookup from a type name (``"sensor_msgs/msg/PointCloud2"``) to a class
that accepts every field as a keyword argument, e.g. ``io.bag.message_type``. All fields are given, since rosbags has no
defaults.
"""

from __future__ import annotations

import dataclasses
import json
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BagError, CloudFormatError
from lidarloop_core.geometry.boxes import BOX_COLUMNS, Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.decode import decode_cloud
from lidarloop_core.pointcloud.encode import encode_points

Types = Callable[[str], Any]

_NANOSECONDS = 1_000_000_000


def stamp_ns(header: Any) -> int:
    """A header's time in nanoseconds."""
    return int(header.stamp.sec) * _NANOSECONDS + int(header.stamp.nanosec)


def require_stamp(header: Any) -> None:
    """Refuses a header whose time has more than one form: an answer could not have the same header.

    Raises:
        CloudFormatError: ``nanosec`` is a second or more.
    """
    if not 0 <= header.stamp.nanosec < _NANOSECONDS:
        raise CloudFormatError(
            f"received a stamp with nanosec {header.stamp.nanosec}; expected less than {_NANOSECONDS}: check the "
            "driver's stamps"
        )


def frame_name(frame_id: str) -> str:
    """The name of a coordinate frame without leading slashes.

    ROS 1 and some drivers write them; tf2 drops them where it stores a transform, and refuses them where it is asked.
    Every name is compared and looked up in this form.
    """
    return frame_id.lstrip("/")


def time_message(time_ns: int, types: Types) -> Any:
    """builtin_interfaces/Time."""
    return types("builtin_interfaces/msg/Time")(sec=time_ns // _NANOSECONDS, nanosec=time_ns % _NANOSECONDS)


def header_message(time_ns: int, frame_id: str, types: Types) -> Any:
    """std_msgs/Header."""
    return types("std_msgs/msg/Header")(stamp=time_message(time_ns, types), frame_id=frame_id)


def string_message(value: Any, types: Types) -> Any:
    """std_msgs/String that holds ``value`` as JSON."""
    return types("std_msgs/msg/String")(data=json.dumps(value))


def cloud_message(columns: Mapping[str, npt.NDArray[Any]], time_ns: int, frame_id: str, types: Types) -> Any:
    """sensor_msgs/PointCloud2 with one point per row of the columns (name → (N,) array)."""
    layout = encode_points(columns)
    point_field = types("sensor_msgs/msg/PointField")
    cls = types("sensor_msgs/msg/PointCloud2")
    return cls(
        header=header_message(time_ns, frame_id, types),
        height=1,
        width=layout.num_points,
        fields=[point_field(name=n, offset=o, datatype=d, count=1) for n, o, d in layout.fields],
        is_bigendian=False,
        point_step=layout.point_step,
        row_step=len(layout.data),
        data=_sequence(cls, "B", layout.data),
        is_dense=all(bool(np.isfinite(columns[c]).all()) for c in "xyz" if c in columns),
    )


def image_message(jpeg: bytes, time_ns: int, frame_id: str, types: Types) -> Any:
    """sensor_msgs/CompressedImage holding a JPEG."""
    cls = types("sensor_msgs/msg/CompressedImage")
    return cls(header=header_message(time_ns, frame_id, types), format="jpeg", data=_sequence(cls, "B", jpeg))


def camera_info_message(
    intrinsics: npt.NDArray[np.float64], width: int, height: int, time_ns: int, frame_id: str, types: Types
) -> Any:
    """sensor_msgs/CameraInfo of a rectified pinhole picture: no distortion.

    Args:
        intrinsics: (3, 3) in pixels.
        width, height: size of the picture, pixels.
        time_ns: stamp, nanoseconds.
        frame_id: optical frame of the camera.
        types: lookup of message classes.
    """
    cls = types("sensor_msgs/msg/CameraInfo")
    return cls(
        header=header_message(time_ns, frame_id, types),
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=_sequence(cls, "d", np.zeros(5).tobytes()),
        k=intrinsics.astype(np.float64).reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([intrinsics, np.zeros((3, 1))]).astype(np.float64).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=types("sensor_msgs/msg/RegionOfInterest")(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def odometry_message(
    odom_SE3_base: SE3,
    linear_mps: Sequence[float],
    angular_radps: Sequence[float],
    time_ns: int,
    types: Types,
    *,
    frame_id: str = "odom",
    child_frame_id: str = "base_link",
) -> Any:
    """nav_msgs/Odometry.

    Args:
        odom_SE3_base: the pose.
        linear_mps: velocity (x, y, z) in the child frame, m/s.
        angular_radps: angular velocity (x, y, z) in the child frame, rad/s.
        time_ns: stamp of the pose, nanoseconds.
        types: lookup of message classes.
        frame_id: static frame.
        child_frame_id: frame of the vehicle.
    """
    twist = types("geometry_msgs/msg/Twist")(linear=_vector(linear_mps, types), angular=_vector(angular_radps, types))
    return types("nav_msgs/msg/Odometry")(
        header=header_message(time_ns, frame_id, types),
        child_frame_id=child_frame_id,
        pose=types("geometry_msgs/msg/PoseWithCovariance")(
            pose=pose_message(odom_SE3_base, types), covariance=np.zeros(36)
        ),
        twist=types("geometry_msgs/msg/TwistWithCovariance")(twist=twist, covariance=np.zeros(36)),
    )


def transforms_message(transforms: Iterable[tuple[str, str, SE3]], time_ns: int, types: Types) -> Any:
    """tf2_msgs/TFMessage of (parent frame, child frame, parent_SE3_child)."""
    stamped, transform = types("geometry_msgs/msg/TransformStamped"), types("geometry_msgs/msg/Transform")
    return types("tf2_msgs/msg/TFMessage")(
        transforms=[
            stamped(
                header=header_message(time_ns, parent, types),
                child_frame_id=child,
                transform=transform(
                    translation=_vector(parent_SE3_child.translation, types),
                    rotation=_quaternion(parent_SE3_child.xyzw, types),
                ),
            )
            for parent, child, parent_SE3_child in transforms
        ]
    )


def pose_message(dst_SE3_src: SE3, types: Types) -> Any:
    """geometry_msgs/Pose."""
    x, y, z = (float(v) for v in dst_SE3_src.translation)
    return types("geometry_msgs/msg/Pose")(
        position=types("geometry_msgs/msg/Point")(x=x, y=y, z=z), orientation=_quaternion(dst_SE3_src.xyzw, types)
    )


def pose_from_message(pose: Any) -> SE3:
    """From a geometry_msgs/Pose."""
    return _rigid(pose.orientation, pose.position)


def transform_from_message(transform: Any) -> SE3:
    """From a geometry_msgs/Transform: ``parent_SE3_child``."""
    return _rigid(transform.rotation, transform.translation)


def detections_message(boxes: Boxes3D, time_ns: int, frame_id: str, types: Types, ids: Sequence[str] = ()) -> Any:
    """vision_msgs/Detection3DArray, in the order of the boxes.

    The class name is ``results[0].hypothesis.class_id``; ``bbox.size`` is (length, width, height). vision_msgs has no
    velocity: ``boxes_cloud_message`` is the companion that carries it.

    Args:
        boxes: N boxes in frame ``frame_id``.
        time_ns: stamp of the cloud, nanoseconds.
        frame_id: frame of the cloud.
        types: lookup of message classes.
        ids: N instance ids; none gives "" to each.
    """
    header = header_message(time_ns, frame_id, types)
    detection, hypothesis = types("vision_msgs/msg/Detection3D"), types("vision_msgs/msg/ObjectHypothesis")
    result, bounding_box = types("vision_msgs/msg/ObjectHypothesisWithPose"), types("vision_msgs/msg/BoundingBox3D")
    pose_with_covariance = types("geometry_msgs/msg/PoseWithCovariance")
    detections = []
    for value, score, name, instance_id in zip(
        boxes.values.tolist(), boxes.scores.tolist(), boxes.names, ids or [""] * len(boxes), strict=True
    ):
        center = _upright_pose(value[:3], value[6], types)
        pose = pose_with_covariance(pose=center, covariance=np.zeros(36))
        detections.append(
            detection(
                header=header,
                results=[result(hypothesis=hypothesis(class_id=name, score=score), pose=pose)],
                bbox=bounding_box(center=center, size=_vector(value[3:6], types)),
                id=instance_id,
            )
        )
    return types("vision_msgs/msg/Detection3DArray")(header=header, detections=detections)


def boxes_from_detections(msg: Any, class_names: tuple[str, ...]) -> Boxes3D:
    """From a vision_msgs/Detection3DArray: the best hypothesis of each detection; velocities are NaN.

    Raises:
        BagError: a detection has no hypothesis, or its class is not in ``class_names``.
    """
    values, scores, labels = [], [], []
    for detection in msg.detections:
        if not detection.results:
            raise BagError(
                "Detection3DArray received a detection without a hypothesis; expected results[0] with its class"
            )
        best = max((r.hypothesis for r in detection.results), key=lambda h: h.score)
        if best.class_id not in class_names:
            raise BagError(
                f"Detection3DArray received class '{best.class_id}'; expected one of {', '.join(class_names)}"
            )
        center, size = pose_from_message(detection.bbox.center), detection.bbox.size
        values.append([*center.translation, size.x, size.y, size.z, center.yaw_rad, np.nan, np.nan])
        scores.append(best.score)
        labels.append(class_names.index(best.class_id))
    return Boxes3D(np.array(values), np.array(scores), np.array(labels), class_names)


def boxes_cloud_message(
    boxes: Boxes3D,
    extra_columns: Mapping[str, npt.NDArray[Any]],
    time_ns: int,
    frame_id: str,
    types: Types,
) -> Any:
    """sensor_msgs/PointCloud2 with one point per box, all float32.

    Args:
        boxes: N boxes in frame ``frame_id``; their columns are BOX_COLUMNS, score and label.
        extra_columns: name → (N,) values of further columns.
        time_ns: stamp of the cloud, nanoseconds.
        frame_id: frame of the cloud.
        types: lookup of message classes.
    """
    columns: dict[str, npt.NDArray[Any]] = {name: boxes.values[:, i] for i, name in enumerate(BOX_COLUMNS)}
    columns |= {"score": boxes.scores, "label": boxes.labels, **extra_columns}
    return cloud_message({n: np.asarray(c, dtype=np.float32) for n, c in columns.items()}, time_ns, frame_id, types)


def boxes_from_cloud(msg: Any, class_names: tuple[str, ...]) -> tuple[Boxes3D, dict[str, npt.NDArray[np.float32]]]:
    """The boxes of a ``boxes_cloud_message``, and its extra columns, name → (N,) float32.

    Raises:
        CloudFormatError: it lacks one of BOX_COLUMNS, score and label.
        ValueError: a label is outside ``class_names``.
    """
    cloud = decode_cloud(msg)
    values = np.stack([cloud[name].astype(np.float32) for name in BOX_COLUMNS], axis=1)
    boxes = Boxes3D(values, cloud["score"].astype(np.float32), cloud["label"].astype(np.int64), class_names)
    known = {*BOX_COLUMNS, "score", "label"}
    return boxes, {name: cloud[name].astype(np.float32) for name in cloud.names if name not in known}


def _upright_pose(center: Sequence[float], yaw_rad: float, types: Types) -> Any:
    x, y, z = center
    rotation = (0.0, 0.0, float(np.sin(yaw_rad / 2)), float(np.cos(yaw_rad / 2)))
    return types("geometry_msgs/msg/Pose")(
        position=types("geometry_msgs/msg/Point")(x=x, y=y, z=z), orientation=_quaternion(rotation, types)
    )


def _rigid(rotation: Any, translation: Any) -> SE3:
    return SE3.from_xyzw(
        (rotation.x, rotation.y, rotation.z, rotation.w), (translation.x, translation.y, translation.z)
    )


def _vector(xyz: Sequence[float] | npt.NDArray[Any], types: Types) -> Any:
    x, y, z = (float(v) for v in xyz)
    return types("geometry_msgs/msg/Vector3")(x=x, y=y, z=z)


def _quaternion(xyzw: Sequence[float] | npt.NDArray[Any], types: Types) -> Any:
    x, y, z, w = (float(v) for v in xyzw)
    return types("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w)


def _sequence(cls: Any, typecode: str, data: bytes) -> Any:
    """Bytes as the sequence type that a message class stores without copying value by value.

    rosbags' dataclasses hold numpy arrays; rclpy's classes hold ``array`` (a numpy array would cost 50 ns per value).
    """
    if dataclasses.is_dataclass(cls):
        return np.frombuffer(data, typecode)
    values = array(typecode)
    values.frombytes(data)
    return values
