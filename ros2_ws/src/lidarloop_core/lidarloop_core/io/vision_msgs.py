"""Field lists of the vision_msgs 4.x types used here, for tools that read bags where the package is not installed.

The type hashes equal the official ones, so bags written with them play into nodes that use apt's vision_msgs.
"""

from __future__ import annotations

DEFINITIONS = {
    "vision_msgs/msg/ObjectHypothesis": """\
string class_id
float64 score
""",
    "vision_msgs/msg/ObjectHypothesisWithPose": """\
vision_msgs/ObjectHypothesis hypothesis
geometry_msgs/PoseWithCovariance pose
""",
    "vision_msgs/msg/BoundingBox3D": """\
geometry_msgs/Pose center
geometry_msgs/Vector3 size
""",
    "vision_msgs/msg/Detection3D": """\
std_msgs/Header header
vision_msgs/ObjectHypothesisWithPose[] results
vision_msgs/BoundingBox3D bbox
string id
""",
    "vision_msgs/msg/Detection3DArray": """\
std_msgs/Header header
vision_msgs/Detection3D[] detections
""",
}
