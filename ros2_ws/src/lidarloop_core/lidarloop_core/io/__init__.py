"""Files: ROS 2 bags and results."""
