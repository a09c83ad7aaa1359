"""Autoware's labels for our classes, and a check that its DetectedObjects has the fields that we write.

Facts from autoware_perception_msgs 1.1 to 1.11 and from Autoware's own CenterPoint node and tracker.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from lidarloop_core.errors import ConfigError

PACKAGE = "autoware_perception_msgs"

# In the order of the constants of ObjectClassification.
LABELS = (
    "unknown",
    "car",
    "truck",
    "bus",
    "trailer",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "animal",
    "hazard",
    "over_drivable",
    "under_drivable",
)
UNKNOWN = LABELS.index("unknown")
# Barriers and traffic cones have no label: they are UNKNOWN, unless `class_remap` gives them another class.
OTHER_NAMES = {"construction_vehicle": "truck"}
# Autoware's tracker decides which end of these is the front.
CAR_LIKE = tuple(LABELS.index(name) for name in ("car", "truck", "bus", "trailer"))

# Constants of DetectedObjectKinematics.
ORIENTATION_UNAVAILABLE, ORIENTATION_SIGN_UNKNOWN = 0, 1
# Constant of Shape.
BOUNDING_BOX = 0

FIELDS = {
    "DetectedObjects": {"header": "std_msgs/Header", "objects": f"sequence<{PACKAGE}/DetectedObject>"},
    "DetectedObject": {
        "existence_probability": "float",
        "classification": f"sequence<{PACKAGE}/ObjectClassification>",
        "kinematics": f"{PACKAGE}/DetectedObjectKinematics",
        "shape": f"{PACKAGE}/Shape",
    },
    "ObjectClassification": {"label": "uint8", "probability": "float"},
    "DetectedObjectKinematics": {
        "pose_with_covariance": "geometry_msgs/PoseWithCovariance",
        "has_position_covariance": "boolean",
        "orientation_availability": "uint8",
        "twist_with_covariance": "geometry_msgs/TwistWithCovariance",
        "has_twist": "boolean",
        "has_twist_covariance": "boolean",
    },
    "Shape": {"type": "uint8", "footprint": "geometry_msgs/Polygon", "dimensions": "geometry_msgs/Vector3"},
}
"""Message → field → type, in the order in which ``serialised.objects_bytes`` writes them."""


def label_of(class_name: str) -> int:
    """Autoware's label for one of our classes; UNKNOWN for a class without one."""
    name = OTHER_NAMES.get(class_name, class_name)
    return LABELS.index(name) if name in LABELS else UNKNOWN


def objects_type() -> Any:
    """The message class DetectedObjects.

    Raises:
        ConfigError: it is not installed, or has other fields than those written.
    """
    try:
        messages = import_module(f"{PACKAGE}.msg")
    except ImportError as error:
        apt_name = f"ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{PACKAGE.replace('_', '-')}"
        raise ConfigError(
            f"parameter 'autoware_objects' received true, but {PACKAGE} cannot be imported ({error}); expected that "
            f"package beside ROS. Remedy: sudo apt install {apt_name}, or source Autoware's workspace before the node "
            "starts, or set autoware_objects: false"
        ) from error
    for name, expected in FIELDS.items():
        message = getattr(messages, name, None)
        found = {} if message is None else message.get_fields_and_field_types()
        if list(found.items()) != list(expected.items()):
            raise ConfigError(
                f"parameter 'autoware_objects' received true, but {PACKAGE}/{name} has the fields {_listed(found)}; "
                f"expected {_listed(expected)}. Remedy: a release of {PACKAGE} from 1.1 to 1.11, or set "
                "autoware_objects: false"
            )
    return messages.DetectedObjects


def _listed(fields: dict[str, str]) -> str:
    return "(" + ", ".join(f"{kind} {name}" for name, kind in fields.items()) + ")"
