# Training, export and evaluation on a GPU machine. No ROS: bags are read by rosbags.
#
#   docker build -f docker/train.Dockerfile -t lidarloop-train .
#   docker run --gpus all --shm-size=8g -v "$PWD/data:/work/data" -v "$PWD/out:/work/out" lidarloop-train \
#     lidarloop train pillar-toytown
#
# Pinned: Python and Debian by the tag, every package by constraints.txt. torch's wheel from PyPI brings its own CUDA;
# the host needs only a driver.
FROM python:3.12-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ git && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 lidarloop \
    && mkdir -p /work/data /work/out && chown -R lidarloop /work
WORKDIR /work
COPY constraints.txt constraints-common.txt pyproject.toml README.md ./
COPY ros2_ws ros2_ws
COPY training training
COPY export export
COPY models models
# hadolint ignore=DL3013
RUN pip install --no-cache-dir -c constraints.txt "setuptools<80" wheel \
    && pip install --no-cache-dir -c constraints.txt --no-build-isolation \
      ./ros2_ws/src/lidarloop_core ".[train,export,data,fast-jpeg]"

USER 10001
CMD ["lidarloop", "--help"]
