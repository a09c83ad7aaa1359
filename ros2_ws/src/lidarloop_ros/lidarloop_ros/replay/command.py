"""``lidarloop replay``: plays a bag through the vehicle's node and records its detections and latencies."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from lidarloop_core.errors import ConfigError


def replay(
    bag: Positional[Path],
    *,
    model: Path,
    out: Path = Path("out/replay"),
    rate: float = 1.0,
    topic: str = "",
    params_file: Path | None = None,
) -> None:
    """Plays a bag through the lidar_detector node, as a process of its own, over DDS at the bag's recorded pace.

    Writes detections.json (nuScenes results; boxes in the world frame if the bag has odometry, else in the LiDAR's) and
    latency.json, both for `lidarloop evaluate`.

    Args:
        bag: an .mcap or .db3 file, or a bag folder.
        model: model.onnx made by `lidarloop export`.
        out: folder to write to.
        rate: 2 plays twice as fast.
        topic: the LiDAR's; needed only if the bag has several of sensor_msgs/PointCloud2 and none is /lidar/points.
        params_file: parameters of the node, as for `ros2 run … --params-file`.

    Raises:
        LidarloopError: the bag, the model or an option cannot be used, or the node answered no cloud.
    """
    if not 0.01 <= rate <= 100:
        raise ConfigError(f"--rate received {rate}; expected 0.01 to 100")
    if params_file is not None and not params_file.is_file():
        raise ConfigError(f"--params-file received {params_file}; expected a YAML file")

    # ROS and numpy are loaded only now, so that --help and wrong usage are answered at once.
    from lidarloop_core.io.bag import BagReader
    from lidarloop_core.model.model_file import read_model
    from lidarloop_ros.replay.results import print_summary, write_detections, write_latency
    from lidarloop_ros.replay.session import ReplaySettings, run_replay

    settings = ReplaySettings(model=model, rate=rate, topic=topic, params_file=params_file)
    file = read_model(model)
    with BagReader(bag) as reader:
        record = run_replay(reader, settings, file.spec.class_names)
        paths = (
            write_detections(out / "detections.json", record, reader, file),
            write_latency(out / "latency.json", record, file.sha256),
        )
    print_summary(record, paths)
