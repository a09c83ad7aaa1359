#!/bin/bash
set -e
source /opt/ros/jazzy/setup.bash
source /opt/lidarloop/ros2_ws/install/setup.bash
exec "$@"
