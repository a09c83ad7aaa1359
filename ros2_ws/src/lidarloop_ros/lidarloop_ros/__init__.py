"""ROS 2 nodes of lidarloop: the only importer of rclpy. Every node is a thin shell round lidarloop_core."""

import os

# After a product as small as a cloud's, OpenBLAS's threads go on spinning for tens of milliseconds and take the cores
# from the network: on two cores that tripled the latency of every fourth cloud. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
