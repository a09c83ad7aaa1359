"""Parameters of ``lidar_detector``."""

from __future__ import annotations

from dataclasses import dataclass

from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.postprocess import Postprocessing, parse_overlaps, parse_renamings, parse_thresholds
from lidarloop_core.labelling.picture_times import SLOP_S
from lidarloop_ros.inputs.cropping import CropParams
from lidarloop_ros.inputs.motion_params import MotionParams
from lidarloop_ros.node.params import param


@dataclass(frozen=True)
class DetectorParams(MotionParams, CropParams):
    """Parameters of ``lidar_detector``."""

    model: str = param(
        "",
        "Path of model.onnx as `lidarloop export` wrote it; it holds range, classes and columns. Set while the node is "
        "configured, another model is loaded beside the one in use and swapped in; ~/load_model returns the outcome.",
        live=True,
    )
    model_swap_timeout_s: float = param(
        600.0, "A new model that is not ready within this many seconds is not taken; the one in use goes on.",
        low=1.0, high=86_400.0, live=True,
    )  # fmt: skip
    backend: str = param(
        "onnxruntime",
        "What runs the model: `onnxruntime` on `providers`, or `tensorrt` (builds its engine if the cache has none).",
        choices=("onnxruntime", "tensorrt"),
    )
    providers: tuple[str, ...] = param(
        ("CPUExecutionProvider",), "ONNX Runtime execution providers; each must really be in use, or configuring fails."
    )
    sweeps_on_gpu: bool = param(
        False,
        "With `backend: tensorrt`: sweeps are kept, moved by ego-motion, merged and grouped on the GPU; only the "
        "newest one is copied there.",
    )
    num_threads: int = param(
        0, "Number of threads of one inference on the CPU; 0: one per core. Leave a core to a self-labeller beside it.",
        low=0, high=256,
    )  # fmt: skip
    score_threshold: float = param(0.1, "Boxes below this score are left out.", low=0.0, high=1.0, live=True)
    score_thresholds: str = param(
        "", "Thresholds of single classes, also by range (m): `car: 0.35; pedestrian: 0.2 <20, 0.3 <40, 0.4`.",
        check=parse_thresholds, live=True,
    )  # fmt: skip
    nms_iou: float = param(
        0.2, "Of two boxes of a class that overlap more than this (BEV IoU), the one of lower score is left out.",
        low=0.0, high=1.0, live=True,
    )  # fmt: skip
    nms_ious: str = param(
        "", "nms_iou of single published classes: `pedestrian: 0.5; car: 0.1`.", check=parse_overlaps, live=True
    )
    class_remap: str = param(
        "",
        "Classes published as others: `construction_vehicle: truck; car: truck >12.1; barrier:` (the second for cars "
        "of more than 12.1 m² of ground, the third leaves barriers out).",
        check=parse_renamings, live=True,
    )  # fmt: skip
    without_motion: str = param(
        "single_sweep", "A cloud without ego-motion is used alone (`single_sweep`), or dropped (`drop`).",
        choices=("single_sweep", "drop"),
    )  # fmt: skip
    motion_error_after_s: float = param(
        5.0, "Missing ego-motion is a WARN, and after this many seconds an ERROR.", low=0.0, high=3600.0, live=True
    )
    max_age_s: float = param(
        1.0,
        "Clouds older than this (s) when they arrive, or from the future, are dropped; 0: stamps are not compared with "
        "the clock. Stamps more than a day old belong to another clock: such clouds are accepted with a WARN.",
        low=0.0, high=3600.0,
    )  # fmt: skip
    missing_intensity: str = param(
        "reject",
        "Clouds without intensity, for a model that takes it: `reject` them, or use `zeros` with a WARN.",
        choices=("reject", "zeros"),
    )
    non_finite_warn_share: float = param(
        0.5, "A larger share of points without a finite position is a WARN.", low=0.0, high=1.0, live=True
    )
    expected_rate_hz: float = param(
        0.0, "Fewer clouds a second than 80 % of this are a WARN; 0: not judged.", low=0.0, high=100.0, live=True
    )
    extra_points_topics: tuple[str, ...] = param(
        ("",),  # an empty list has no type in ROS
        "Clouds of further LiDARs, joined to those of ~/input/points by stamp, mounting (/tf_static) and ego-motion.",
    )
    extra_points_delay_s: tuple[float, ...] = param(
        (0.05,),
        "How long (s) each of them may be late; one value for all, or one each. A missing one is left out: WARN.",
    )
    image_topics: tuple[str, ...] = param(
        ("",),
        "For a model with cameras, a topic for each: sensor_msgs/CompressedImage where it ends in /compressed, else "
        "sensor_msgs/Image. Its sensor_msgs/CameraInfo lies beside it; the part before, in capitals, is the camera's "
        "name in the model: /camera/cam_front/image/compressed.",
    )
    camera_slop_s: float = param(
        SLOP_S, "Largest difference (s) between a picture's stamp and the cloud's plus the camera's own offset, which "
        "is learnt.",
        low=0.001, high=1.0,
    )  # fmt: skip
    camera_patience_s: float = param(
        0.05, "How long (s) a cloud waits for its pictures; then it is answered without those that are missing: WARN.",
        low=0.0, high=1.0,
    )  # fmt: skip
    tracking: bool = param(
        False, "Publish ~/tracks and ~/track_boxes: detections followed over time, with ids. Needs ego-motion."
    )
    autoware_objects: bool = param(
        False,
        "Publish ~/objects (autoware_perception_msgs/DetectedObjects) for Autoware; that package must be installed.",
    )
    max_points: int = param(
        1_000_000,
        "Merged clouds with more points than this are thinned evenly, with a WARN.",
        low=1_000,
        high=10_000_000,
    )
    publish_markers: bool = param(True, "Publish ~/markers for RViz and Foxglove while they have subscribers.")

    @property
    def extra_lidars(self) -> dict[str, float]:
        """Topic → how long its cloud may be late, seconds.

        Raises:
            ConfigError: the numbers of topics and delays differ, or a delay is not from 0 to 1.
        """
        topics = [topic for topic in self.extra_points_topics if topic]
        delays_s = list(self.extra_points_delay_s)
        if len(delays_s) not in (1, len(topics)) or any(not 0 <= delay <= 1 for delay in delays_s):
            raise ConfigError(
                f"parameter 'extra_points_delay_s' received {delays_s}; expected one value from 0 to 1, or one "
                f"for each of {len(topics)} topics"
            )
        return dict(zip(topics, delays_s * len(topics) if len(delays_s) == 1 else delays_s, strict=True))

    @property
    def cameras(self) -> tuple[str, ...]:
        """The image topics, without the empty text that stands for none."""
        return tuple(topic for topic in self.image_topics if topic)

    @property
    def crops(self) -> bool:
        """Whether points or detections are left out by limits."""
        return self.crop_limits.limit_anything or bool(self.output_region)

    def postprocessing(self) -> Postprocessing:
        """Thresholds, suppression and renaming. Raises ConfigError for a text of another form."""
        return Postprocessing(
            self.score_threshold,
            self.nms_iou,
            parse_thresholds(self.score_thresholds),
            parse_overlaps(self.nms_ious),
            parse_renamings(self.class_remap),
        )
