# The vehicle: ROS 2 Jazzy from apt, the node, no torch.
#   docker build -f docker/onboard.Dockerfile -t lidarloop-onboard .
# On a Jetson pass --build-arg BASE=<an L4T image with ROS 2 Jazzy>; everything below is the same.
ARG BASE=ros:jazzy-ros-base
FROM ${BASE}

RUN apt-get update && apt-get install -y --no-install-recommends \
      python3-pip python3-colcon-common-extensions \
      ros-jazzy-vision-msgs ros-jazzy-tf2-ros-py ros-jazzy-message-filters ros-jazzy-sensor-msgs-py \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/lidarloop
COPY constraints.txt ./
# What has no rosdep key. numpy and scipy stay apt's.
RUN python3 -m pip install --break-system-packages --no-cache-dir -c constraints.txt numba onnxruntime rosbags mcap tyro rich

COPY ros2_ws ros2_ws
COPY launch launch
COPY models models
RUN . /opt/ros/jazzy/setup.sh && cd ros2_ws && colcon build --merge-install

COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "lidarloop_bringup", "perception.launch.py", "model:=/opt/lidarloop/models/pillar-toytown.onnx"]
