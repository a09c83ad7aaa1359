"""ROS 2 nodes of lidarloop: the only importer of rclpy. Every node is a thin shell round lidarloop_core."""
