"""Which 2D model labels: plain values that name one, and load it where it works."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary
from lidarloop_core.sample import SampleSource
from lidarloop_training.pseudolabel.camera_only import DepthModel
from lidarloop_training.pseudolabel.mask_models.toytown_depth import DepthFaults, ToyTownDepth
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.faults.rates import FaultRates


@dataclass(frozen=True)
class ToyTownMaskModelSpec:
    """The toy town's own masks, degraded: a stand-in where no weights can be had.

    Attributes:
        faults: probability of each kind of failure.
        depth: relative errors of the depth that it sees in images.
        seed: seed of its faults; another one draws others.
    """

    sees_pictures_alone: ClassVar[bool] = False

    faults: FaultRates = field(default_factory=FaultRates)
    depth: DepthFaults = field(default_factory=DepthFaults)
    seed: int = 0

    def open(self, drive: SampleSource) -> MaskModel:
        """The stand-in for a drive.

        Raises:
            ConfigError: it is no toy-town drive.
        """
        from lidarloop_training.pseudolabel.mask_models.toytown import ToyTownMaskModel
        from lidarloop_training.toytown.mask_model import DegradedMasks

        return ToyTownMaskModel(DegradedMasks(_toytown(drive), self.faults, seed=self.seed))

    def open_depth(self, drive: SampleSource) -> DepthModel:
        """The stand-in's depth.

        Raises:
            ConfigError: it is no toy-town drive.
        """
        return ToyTownDepth(_toytown(drive), self.depth, seed=self.seed)


@dataclass(frozen=True)
class MasksFileSpec:
    """Masks that any other tool has made.

    Attributes:
        file: COCO JSON: a data set with images, annotations and categories, or a results list.
        images: the data set file with the images and categories of a results list.
        vocabulary: JSON file of what the categories' names mean; see ``Vocabulary``.
    """

    sees_pictures_alone: ClassVar[bool] = False

    file: Path | None = None
    images: Path | None = None
    vocabulary: Path | None = None

    def open(self, drive: SampleSource) -> MaskModel:
        """Reads the file.

        Raises:
            ConfigError: no file was named.
            DatasetError: it is no COCO JSON.
        """
        from lidarloop_core.labelling.mask_models.masks_file import MasksFile

        if self.file is None:
            raise ConfigError("received --mask-model masks without a file; expected COCO JSON: --masks.file FILE")
        return MasksFile(self.file, images=self.images, vocabulary=_vocabulary(self.vocabulary))

    def open_depth(self, drive: SampleSource) -> DepthModel:
        raise _no_depth("masks")


@dataclass(frozen=True)
class OnnxMaskModelSpec:
    """A detector of COCO's classes and a segmenter of Cityscapes' classes, in ONNX Runtime.

    Attributes:
        detector: ONNX file of a YOLOX or FastestDet.
        segmenter: ONNX file of an ESPNetv2 or the like.
        providers: execution providers of ONNX Runtime, in order of preference; every one must be there.
    """

    sees_pictures_alone: ClassVar[bool] = True

    detector: Path | None = None
    segmenter: Path | None = None
    providers: tuple[str, ...] = ("CPUExecutionProvider",)

    def open(self, drive: SampleSource) -> MaskModel:
        """Loads both networks.

        Raises:
            ConfigError: one was not named.
        """
        from lidarloop_core.labelling.mask_models.onnx_mask_model import open_onnx_mask_model

        if self.detector is None or self.segmenter is None:
            raise ConfigError(
                "received --mask-model onnx without both networks; expected two files: --onnx.detector FILE "
                "--onnx.segmenter FILE"
            )
        return open_onnx_mask_model(self.detector, self.segmenter, providers=self.providers)

    def open_depth(self, drive: SampleSource) -> DepthModel:
        raise _no_depth("onnx")


@dataclass(frozen=True)
class TransformersMaskModelSpec:
    """Models of the transformers library, asked for classes by their names.

    Attributes:
        detector: folder or hub name of the model that finds boxes by text, e.g. IDEA-Research/grounding-dino-base, or
            facebook/sam3, which needs no segmenter.
        segmenter: folder or hub name of the model that cuts boxes out, e.g. facebook/sam-vit-base.
        depth_model: folder or hub name of the depth model of --sensors camera, e.g.
            depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf.
        detector_revision: the detector's commit on the hub, for runs that can be repeated.
        segmenter_revision: the segmenter's commit on the hub.
        depth_revision: the depth model's commit on the hub.
        scale_by_road: rescale metric depth by the road, for cameras unlike those the model was trained on.
        vocabulary: JSON file of the phrases to ask for; by default the usual ones of the nuScenes classes.
        min_score: lowest score of a detection that is kept.
        batch_size: images at once.
        device: e.g. cuda:0; by default a GPU where there is one.
    """

    sees_pictures_alone: ClassVar[bool] = True

    detector: str | None = None
    segmenter: str | None = None
    depth_model: str | None = None
    detector_revision: str | None = None
    segmenter_revision: str | None = None
    depth_revision: str | None = None
    scale_by_road: bool = False
    vocabulary: Path | None = None
    min_score: float = 0.2
    batch_size: int = 6
    device: str | None = None

    def open(self, drive: SampleSource) -> MaskModel:
        """Loads the models.

        Raises:
            ConfigError: none was named, or one cannot be loaded.
        """
        if self.detector is None:
            raise ConfigError(
                "received --mask-model transformers without a model; expected a folder or a name on the hub: "
                "--transformers.detector MODEL"
            )
        from lidarloop_training.pseudolabel.mask_models.transformers import (
            TransformersMaskModelConfig,
            open_transformers_mask_model,
        )

        return open_transformers_mask_model(
            self.detector,
            self.segmenter,
            vocabulary=_vocabulary(self.vocabulary),
            config=TransformersMaskModelConfig(min_score=self.min_score, batch_size=self.batch_size),
            detector_revision=self.detector_revision,
            segmenter_revision=self.segmenter_revision,
            device=self.device,
        )

    def open_depth(self, drive: SampleSource) -> DepthModel:
        """Loads the depth model.

        Raises:
            ConfigError: none was named, or it cannot be loaded.
        """
        if self.depth_model is None:
            raise ConfigError(
                "received --sensors camera without a depth model; expected a folder or a name on the hub: "
                "--transformers.depth-model MODEL"
            )
        from lidarloop_training.pseudolabel.mask_models.depth import open_transformers_depth

        return open_transformers_depth(
            self.depth_model, revision=self.depth_revision, device=self.device, scale_by_road=self.scale_by_road
        )


def _vocabulary(file: Path | None) -> Vocabulary | None:
    return None if file is None else Vocabulary.read(file)


def _toytown(drive: SampleSource) -> ToyTownDrive:
    if not isinstance(drive, ToyTownDrive):
        raise ConfigError("received --mask-model toytown for another source; expected toytown: name another mask model")
    return drive


def _no_depth(name: str) -> ConfigError:
    return ConfigError(
        f"received --sensors camera with --mask-model {name}, which sees no depth; expected one that does: "
        "transformers or toytown"
    )
