"""Stand-in for ROS 2's `launch_ros`: see the stand-in for `launch` beside it."""
