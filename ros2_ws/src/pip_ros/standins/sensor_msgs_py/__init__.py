"""Stand-in for ROS 2's `sensor_msgs_py` (Jazzy), which is on no package index: `point_cloud2` alone."""
