"""Parameters of both nodes that choose the source of ego-motion."""

from __future__ import annotations

from dataclasses import dataclass

from lidarloop_core.errors import ConfigError
from lidarloop_ros.inputs.deskewing import DeskewParams
from lidarloop_ros.inputs.plausibility import MotionLimits
from lidarloop_ros.node.params import param


@dataclass(frozen=True)
class MotionParams(DeskewParams):
    """Source of the ego-motion, its frames, and what it is used for during a sweep."""

    motion_source: str = param(
        "odometry",
        "Where the ego-motion between sweeps comes from: `odometry` (nav_msgs/Odometry on ~/input/odometry), "
        "`tf` (odom_frame to the cloud's frame), `pose` (a GNSS/INS or a localisation on ~/input/pose), `twist` (the "
        "vehicle's velocity on ~/input/twist), `twist_imu` (the same, turning by sensor_msgs/Imu on ~/input/imu), or "
        "`none` (the newest sweep alone is used).",
        choices=("odometry", "tf", "pose", "twist", "twist_imu", "none"),
    )
    motion_with_covariance: bool = param(
        False,
        "~/input/pose and ~/input/twist are geometry_msgs/PoseWithCovarianceStamped and TwistWithCovarianceStamped "
        "instead of PoseStamped and TwistStamped.",
    )
    base_frame: str = param(
        "base_link", "Child frame of the odometry; /tf_static must lead from it to the cloud's frame."
    )
    odom_frame: str = param("odom", "Fixed frame that `motion_source: tf` measures the motion in.")
    motion_timeout_s: float = param(
        0.05,
        "Longest wait for the ego-motion of a cloud, in seconds; after it the newest sweep is used alone, with a WARN.",
        low=0.0, high=1.0,
    )  # fmt: skip
    max_speed_mps: float = param(
        45.0,
        "Largest speed (m/s) of the vehicle: ego-motion that is faster between two clouds is a jump of the odometry or "
        "TF; the newest sweep is used alone, with a WARN.",
        low=0.1, high=400.0,
    )  # fmt: skip
    max_acceleration_mps2: float = param(
        20.0, "Largest acceleration (m/s²) of the vehicle between three clouds; beyond it as max_speed_mps.",
        low=0.1, high=1000.0,
    )  # fmt: skip
    max_turn_rate_radps: float = param(
        4.0, "Largest rate of turning (rad/s) about any axis between two clouds; beyond it as max_speed_mps.",
        low=0.05, high=100.0,
    )  # fmt: skip

    @property
    def motion_limits(self) -> MotionLimits:
        """What the vehicle can do."""
        return MotionLimits(self.max_speed_mps, self.max_acceleration_mps2, self.max_turn_rate_radps)

    def require_motion_for_deskewing(self) -> None:
        """Raises ConfigError where clouds are to be deskewed, and no ego-motion is to be received."""
        if self.deskew and self.motion_source == "none":
            raise ConfigError(
                "parameter 'deskew' received true with motion_source 'none'; expected a source of ego-motion: set "
                "motion_source to odometry or tf, or deskew to false"
            )
