#!/bin/bash
# Sources ROS 2 and the workspace, then becomes the command.
set -e
source /opt/ros/jazzy/setup.bash
source /opt/lidarloop/ros2_ws/install/setup.bash
exec "$@"
