# The vehicle: ROS 2 Jazzy from apt, the node, NVIDIA's runtime, no torch.
#
#   docker build -f docker/onboard.Dockerfile -t lidarloop-onboard .
#   docker build -f docker/onboard.Dockerfile -t lidarloop-onboard --build-arg TARGET=cpu .
#   docker build -f docker/onboard.Dockerfile -t lidarloop-onboard --build-arg TARGET=jetson --build-arg JETSON_BASE=... .
#
# TARGET=x86     NVIDIA's Python packages from PyPI; the driver comes from the host (docker run --gpus all).
# TARGET=jetson  TensorRT and CUDA are the base's, because they must fit the JetPack on the device. JETSON_BASE is an
#                image for that JetPack with ROS 2 Jazzy and TensorRT 10, run with --runtime nvidia.
# TARGET=cpu     onnxruntime alone.
#
# Pinned: the ROS distribution and Ubuntu release by the tag, every PyPI package by the requirements files. Not pinned:
# apt's packages, since ROS's and Ubuntu's archives keep only the newest build of each, and a pin would break the image
# at the next sync. For a fleet, pin the built image by its digest.
ARG TARGET=x86
ARG ROS_BASE=ros:jazzy-ros-base-noble
ARG JETSON_BASE=ros:jazzy-ros-base-noble

FROM ${ROS_BASE} AS base-cpu

FROM ${ROS_BASE} AS base-x86
COPY docker/onboard-x86-requirements.txt /tmp/
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/* \
    && python3 -m pip install --break-system-packages --no-cache-dir -r /tmp/onboard-x86-requirements.txt

FROM ${JETSON_BASE} AS base-jetson

# hadolint ignore=DL3006
FROM base-${TARGET}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
      python3-colcon-common-extensions python3-numpy python3-pil python3-pip python3-scipy \
      ros-jazzy-message-filters ros-jazzy-rosbag2-storage-mcap ros-jazzy-ros2bag ros-jazzy-tf2-ros-py \
      ros-jazzy-vision-msgs \
    && rm -rf /var/lib/apt/lists/*

COPY docker/onboard-requirements.txt /tmp/
RUN python3 -m pip install --break-system-packages --no-cache-dir -r /tmp/onboard-requirements.txt

WORKDIR /opt/lidarloop
COPY ros2_ws ros2_ws
COPY launch launch
COPY models models
WORKDIR /opt/lidarloop/ros2_ws
RUN source /opt/ros/jazzy/setup.bash && colcon build --merge-install
WORKDIR /opt/lidarloop

# The node needs no privilege. Its folders: engines (a volume, so that they are built once) and what self-labelling keeps.
RUN useradd --create-home --uid 10001 lidarloop \
    && mkdir -p /var/lib/lidarloop/engines /var/lib/lidarloop/kept && chown -R lidarloop /var/lib/lidarloop
USER 10001
ENV LIDARLOOP_ENGINE_CACHE=/var/lib/lidarloop/engines \
    FASTRTPS_DEFAULT_PROFILES_FILE=/opt/lidarloop/launch/config/fastdds.xml
VOLUME ["/var/lib/lidarloop"]

# ros2 launch leaves its nodes running when it gets SIGTERM.
STOPSIGNAL SIGINT
COPY --chmod=755 docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "lidarloop_bringup", "perception.launch.py", "model:=/opt/lidarloop/models/pillar-toytown.onnx"]
