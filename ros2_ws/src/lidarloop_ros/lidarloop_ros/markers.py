"""Boxes → visualization_msgs/MarkerArray: cubes with an arrow along the heading, one colour per class."""

from __future__ import annotations

import colorsys
from functools import lru_cache

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3

# Long enough for the next frame to replace them, short enough that a dead node leaves nothing behind.
LIFETIME = Duration(sec=0, nanosec=500_000_000)


def box_markers(boxes: Boxes3D, header: Header) -> MarkerArray:
    """A DELETEALL, then a cube and an arrow for each box."""
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for i, (box, label) in enumerate(zip(boxes.values, boxes.labels, strict=True)):
        x, y, z, length, width, height, yaw = (float(value) for value in box[:7])
        qx, qy, qz, qw = (float(value) for value in SE3.from_yaw(yaw).xyzw)
        pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))
        color = _class_color(int(label), len(boxes.class_names))
        common = {"header": header, "id": i, "action": Marker.ADD, "pose": pose, "color": color, "lifetime": LIFETIME}
        markers.append(Marker(ns="boxes", type=Marker.CUBE, scale=Vector3(x=length, y=width, z=height), **common))
        # From the centre to half a metre beyond the front: visible outside the cube.
        markers.append(
            Marker(ns="headings", type=Marker.ARROW, scale=Vector3(x=length / 2 + 0.5, y=0.1, z=0.1), **common)
        )
    return MarkerArray(markers=markers)


@lru_cache(maxsize=256)
def _class_color(label: int, num_classes: int) -> ColorRGBA:
    r, g, b = colorsys.hsv_to_rgb(label / num_classes, 0.8, 1.0)
    return ColorRGBA(r=r, g=g, b=b, a=0.5)
