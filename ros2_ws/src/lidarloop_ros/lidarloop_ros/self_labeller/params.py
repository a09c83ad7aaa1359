"""Parameters of ``self_labeller``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.lifting_config import LiftingConfig, full_lifting, paper_lifting
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.labelling.picture_times import SLOP_S
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.selection.frame_store import Quota
from lidarloop_ros.inputs.motion_params import MotionParams
from lidarloop_ros.node.params import param
from lidarloop_ros.self_labeller.frame_keeper import KeepRule


@dataclass(frozen=True)
class SelfLabelParams(MotionParams):
    """Parameters of ``self_labeller``."""

    image_topics: tuple[str, ...] = param(
        ("",),  # an empty list has no type in ROS
        "A topic for each camera: sensor_msgs/CompressedImage where it ends in /compressed, else sensor_msgs/Image. "
        "Its sensor_msgs/CameraInfo lies beside it; the part before names the camera: /camera/<name>/image/compressed.",
    )
    camera_slop_s: float = param(
        SLOP_S, "Largest difference (s) between an image's stamp and the cloud's plus the camera's own offset, which "
        "is learnt: a camera that the LiDAR sweeps late in its turn is always off by the same time.",
        low=0.001, high=1.0,
    )  # fmt: skip
    camera_patience_s: float = param(
        0.2, "How long (s) a cloud waits for its images; then it is labelled without those that are missing.",
        low=0.0, high=5.0,
    )  # fmt: skip
    max_picture_mpx: float = param(
        64.0, "Largest picture (megapixels) that is looked at; a camera that sends a larger one is left out.",
        low=0.01, high=178.0,
    )  # fmt: skip
    mask_model: str = param(
        "onnx",
        "The 2D network that labels: `onnx` (a detector and a segmenter), or `masks` (a COCO JSON file that another "
        "tool has made, looked up by the cloud's stamp).",
        choices=("onnx", "masks"),
    )
    detector_2d: str = param("", "For `mask_model: onnx`: ONNX file of a YOLOX or FastestDet with COCO's classes.")
    segmenter_2d: str = param("", "For `mask_model: onnx`: ONNX file of a segmenter with Cityscapes' classes.")
    masks_file: str = param("", "For `mask_model: masks`: the COCO JSON file.")
    providers: tuple[str, ...] = param(
        ("CPUExecutionProvider",), "ONNX Runtime execution providers; each must really be in use, or configuring fails."
    )
    num_threads: int = param(
        1,
        "Number of threads of one inference of the mask model; 0: one per core. Few leave cores to the detector.",
        low=0,
        high=256,
    )
    recipe: str = param(
        "full", "Steps of lifting: `full`, or the fewer ones of the `paper`.", choices=("full", "paper")
    )
    shape_priors: str = param("", "JSON file: class name to length, width, height (m); empty: the sizes of the paper.")
    publish_overlays: bool = param(
        True, "Publish each camera's image with the labels drawn in, while it has subscribers."
    )
    keep_folder: str = param("", "Folder in which frames worth keeping are written; empty: none are kept.")
    keep_above: float = param(0.5, "Least value of a frame that is kept.", low=0.0, high=1.0)
    keep_every_s: float = param(1.0, "Least time (s) between two kept frames.", low=0.0, high=3600.0)
    quota_gb: float = param(
        20.0, "Largest size (GB) of all frames; those of least value are deleted first.", low=0.001, high=100_000.0
    )
    quota_days: float = param(
        0.0,
        "Frames older than the newest by more days than this are deleted; 0: age does not matter.",
        low=0.0,
        high=3650.0,
    )
    min_free_gb: float = param(
        1.0, "Keeping pauses while less disk space (GB) than this is free.", low=0.0, high=100_000.0
    )

    @property
    def cameras(self) -> tuple[str, ...]:
        """The image topics, without the empty text that stands for none."""
        return tuple(topic for topic in self.image_topics if topic)

    def open_mask_model(self) -> MaskModel:
        """Opens the mask model. Raises LidarloopError: its files are missing, or of another kind."""
        if self.mask_model == "masks":
            from lidarloop_core.labelling.mask_models.masks_file import MasksFile

            return MasksFile(Path(_required("masks_file", self.masks_file)))
        from lidarloop_core.labelling.mask_models.onnx_mask_model import open_onnx_mask_model

        return open_onnx_mask_model(
            Path(_required("detector_2d", self.detector_2d)),
            Path(_required("segmenter_2d", self.segmenter_2d)),
            providers=self.providers,
            num_threads=self.num_threads,
        )

    def priors(self) -> ShapePriors:
        """Sizes of the classes. Raises ConfigError: the file of ``shape_priors`` holds none."""
        return ShapePriors.read(Path(self.shape_priors)) if self.shape_priors else ShapePriors.paper()

    def lifting(self) -> LiftingConfig:
        """The steps of lifting."""
        return full_lifting() if self.recipe == "full" else paper_lifting()

    def quota(self) -> Quota:
        """Largest size and age of the kept frames, and least free space."""
        return Quota(
            max_bytes=round(self.quota_gb * 1e9),
            max_age_s=self.quota_days * 86_400,
            min_free_bytes=round(self.min_free_gb * 1e9),
        )

    def keep_rule(self) -> KeepRule:
        """Which frames are kept."""
        return KeepRule(min_value=self.keep_above, min_interval_s=self.keep_every_s)


def _required(name: str, value: str) -> str:
    if not value:
        raise ConfigError(f"parameter '{name}' received nothing; expected the path of a file")
    return value
