"""Stand-in for ROS 2's `tf2_ros` (geometry2, Jazzy), which is on no package index.

It covers what lidarloop uses, with the same names, signatures and results: transforms stored for ten seconds,
interpolated, looked up through the tree of frames; listening to and sending /tf and /tf_static. Anything else of
tf2_ros is absent rather than approximated. Where the real package is installed, it is imported instead of this one.
"""

from tf2_ros.broadcasters import StaticTransformBroadcaster, TransformBroadcaster
from tf2_ros.buffer import Buffer
from tf2_ros.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.transform_listener import TransformListener

__all__ = [
    "Buffer",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]
