# Training and export on a GPU machine. No ROS: bags are read by rosbags.
#   docker build -f docker/train.Dockerfile -t lidarloop-train .
#   docker run --gpus all -v "$PWD/data:/work/data" lidarloop-train lidarloop train pillar-toytown
FROM python:3.12-slim

RUN apt-get update && apt-get install -y --no-install-recommends git g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /work
COPY constraints.txt pyproject.toml README.md ./
COPY ros2_ws ros2_ws
COPY training training
COPY export export
RUN pip install --no-cache-dir "setuptools<80" wheel \
    && pip install --no-cache-dir -c constraints.txt --no-build-isolation ./ros2_ws/src/lidarloop_core ".[train,export]"
CMD ["lidarloop", "--help"]
