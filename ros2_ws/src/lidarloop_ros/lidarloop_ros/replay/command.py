"""``lidarloop replay``: plays a bag through one of the vehicle's nodes and records what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import OmitArgPrefixes, Positional

from lidarloop_core.errors import ConfigError
from lidarloop_core.io.outputs import check_output

if TYPE_CHECKING:
    from lidarloop_core.model.spec import ModelSpec


@dataclass(frozen=True)
class Pacing:
    """When the clouds are sent.

    Attributes:
        pace: `recorded` plays as it was recorded and measures latency; clouds are dropped where the machine is too
            slow. `lockstep` sends each cloud when the one before is answered: every cloud counts, however busy the
            machine is, and no latency is measured.
        rate: at the recorded pace: 2 plays twice as fast.
        duration_s: plays only the first seconds of the recording; 0: all of it.
    """

    pace: Literal["recorded", "lockstep"] = "recorded"
    rate: float = 1.0
    duration_s: float = 0.0

    def require_usable(self) -> None:
        """Raises ConfigError for a value that cannot be used."""
        if not 0.01 <= self.rate <= 100:
            raise ConfigError(f"--rate received {self.rate}; expected 0.01 to 100")
        if not 0 <= self.duration_s < math.inf:
            raise ConfigError(f"--duration-s received {self.duration_s}; expected a number of seconds, or 0 for all")
        if self.pace == "lockstep" and self.rate != 1.0:
            raise ConfigError(
                "--rate is for the recorded pace; in lockstep the node's answers set the pace: leave it out"
            )


def replay(
    bag: Positional[Path],
    *,
    model: Path | None = None,
    self_label: Path | None = None,
    out: Path = Path("out/replay"),
    pacing: OmitArgPrefixes[Pacing] = Pacing(),
    topic: str = "",
    params_file: Path | None = None,
) -> None:
    """Plays a bag through the lidar_detector node, or the self_labeller, as a process of its own, over DDS.

    Writes detections.json (nuScenes results; boxes in the world frame if the bag has odometry, else in the LiDAR's)
    and, at the recorded pace, latency.json, both for `lidarloop evaluate`; with --self-label labels.json in place of
    both.

    Args:
        bag: an .mcap or .db3 file, or a bag folder.
        model: model.onnx made by `lidarloop export`, for the detector.
        self_label: parameters of the self_labeller (as launch/config/self_labeller.yaml), which labels the bag in the
            detector's place.
        out: folder to write to.
        pacing: when the clouds are sent.
        topic: the LiDAR's; needed only if the bag has several of sensor_msgs/PointCloud2 and none is /lidar/points.
        params_file: parameters of the detector, as for `ros2 run … --params-file`.

    Raises:
        LidarloopError: the bag, the model or an option cannot be used, or the node answered no cloud.
    """
    if (model is None) == (self_label is None):
        raise ConfigError("expected either --model, for the detector, or --self-label, for the self_labeller")
    pacing.require_usable()
    if self_label is not None and params_file is not None:
        raise ConfigError("--params-file is for the detector; --self-label itself names the self_labeller's parameters")
    for option, file in (("--params-file", params_file), ("--self-label", self_label)):
        if file is not None and not file.is_file():
            raise ConfigError(f"{option} received {file}; expected a YAML file")

    for name in ("detections.json", "latency.json"):
        check_output(out / name, bag, model, params_file)

    # ROS and numpy are loaded only now, so that --help and wrong usage are answered at once.
    from lidarloop_core.io.atomic import require_output_folder
    from lidarloop_core.io.bag import BagReader
    from lidarloop_core.model.model_file import read_model
    from lidarloop_ros.replay.programs import DETECTOR, SELF_LABELLER
    from lidarloop_ros.replay.results import print_summary, write_detections, write_latency
    from lidarloop_ros.replay.session import ReplaySettings, run_replay

    require_output_folder(out, "--out")
    settings = ReplaySettings(
        program=DETECTOR if self_label is None else SELF_LABELLER,
        model=model,
        lockstep=pacing.pace == "lockstep",
        rate=pacing.rate,
        duration_s=pacing.duration_s or math.inf,
        topic=topic,
        params_file=params_file or self_label,
    )
    model_file = None if model is None else read_model(model)
    if model_file is not None:
        _require_detector(model_file.spec, model)
    with BagReader(bag) as reader:
        record = run_replay(reader, settings)
        paths = [write_detections(out / f"{settings.program.answers}.json", record, reader, model_file)]
        if model_file is not None and not settings.lockstep:
            paths.append(write_latency(out / "latency.json", record, model_file.sha256))
    print_summary(record, paths)


def _require_detector(spec: ModelSpec, model: Path | None) -> None:
    """Refuses a segmenter, whose labelled clouds are not recorded."""
    if spec.outputs.kind != "detection":
        raise ConfigError(
            f"--model received {model}, a model for {spec.outputs.kind}; expected a detector. A segmenter is scored on "
            f"a drive with labelled points by `lidarloop evaluate {model} DRIVE --out OUT`"
        )
