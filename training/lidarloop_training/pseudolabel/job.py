"""What a labelling run does: everything its result depends on, in one value that travels to every worker."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from lidarloop_core import __version__
from lidarloop_core.errors import ConfigError
from lidarloop_core.io.images import MOST_PIXELS
from lidarloop_core.labelling.lifting_config import LiftingConfig, full_lifting, paper_lifting
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.drive_spec import Drive
from lidarloop_training.pseudolabel.camera_only import DepthModel
from lidarloop_training.ranges import check_ranges

Sensors = Literal["lidar-camera", "lidar", "camera"]
RecipeName = Literal["paper", "full"]

MASK_CACHE = "mask-cache"
"""Usual name of the folder of masks, beside the folders of runs."""


class MaskModelSpec(Protocol):
    """Which 2D model, as a frozen dataclass of plain values; the model itself is loaded where it works.

    Attributes:
        sees_pictures_alone: whether its masks depend on the picture alone and take long: such are worth keeping.
    """

    sees_pictures_alone: ClassVar[bool]

    def open(self, drive: SampleSource) -> MaskModel:
        """Loads the model; ``drive`` is what it will look at."""
        ...

    def open_depth(self, drive: SampleSource) -> DepthModel:
        """Loads the depth model that goes with it.

        Raises:
            ConfigError: there is none.
        """
        ...


@dataclass(frozen=True)
class LabelJob:
    """A labelling run.

    Attributes:
        drive: what is labelled.
        mask_model: the 2D model; None for ``sensors`` "lidar", which needs none.
        lifting: steps from masks to boxes.
        refinement: steps over each drive afterwards; None leaves it out.
        priors: class name → usual size, metres.
        sensors: "lidar" clusters the cloud without images, "camera" lifts with depth seen in the image.
        every: labels each n-th sample of the source.
        segment_frames: samples in one piece of work: what a killed run has to do again at most, per worker.
        max_picture_mpx: largest picture that is looked at, megapixels; a camera with larger ones is left out.
        mask_cache: folder in which the 2D model's masks are kept for other runs; None keeps none. The labels do not
            depend on it.

    Raises:
        ConfigError: ``every`` or ``segment_frames`` is below 1, or ``max_picture_mpx`` out of range.
    """

    drive: Drive
    mask_model: MaskModelSpec | None
    lifting: LiftingConfig = field(default_factory=full_lifting)
    refinement: RefineConfig | None = field(default_factory=RefineConfig)
    priors: ShapePriors = field(default_factory=ShapePriors.paper)
    sensors: Sensors = "lidar-camera"
    every: int = 1
    segment_frames: int = 20
    max_picture_mpx: float = MOST_PIXELS / 1e6
    mask_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or self.segment_frames < 1:
            raise ConfigError(
                f"received every {self.every} and segment_frames {self.segment_frames}; expected at least 1 of each"
            )
        check_ranges("LabelJob", max_picture_mpx=(self.max_picture_mpx, 0.01, MOST_PIXELS / 1e6))

    def open_drive(self) -> SampleSource:
        """The source with the sweeps and images that labelling needs."""
        return self.drive.open(num_sweeps=self.lifting.num_sweeps, cameras=self.sensors != "lidar")

    def config(self) -> dict[str, Any]:
        """Plain JSON values of everything the labels depend on, the same in every process."""
        described: dict[str, Any] = plain(self)
        del described["mask_cache"]
        described["drive"] = {"source": self.drive.name, **described["drive"]}
        kind = {} if self.mask_model is None else {"mask_model_type": type(self.mask_model).__name__}
        return {"lidarloop": __version__, **described, **kind}


def recipe(name: RecipeName) -> tuple[LiftingConfig, RefineConfig | None]:
    """The paper's pipeline, plain; or ours, with refinement over the drive."""
    return (paper_lifting(), None) if name == "paper" else (full_lifting(), RefineConfig())


def sha256_of(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """A configuration as JSON values; sets in order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
