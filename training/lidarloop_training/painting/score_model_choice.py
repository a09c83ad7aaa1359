"""Which 2D network paints: plain values that name one, and load it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.painting.score_model import MaskScoreModel, ScoreModel
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.writing.paints import paints_key
from lidarloop_training.pseudolabel.job import MaskModelSpec
from lidarloop_training.pseudolabel.mask_cache import CachedMaskModel, options_of


@dataclass(frozen=True)
class SemanticModelSpec:
    """A segmenter of Cityscapes' classes in ONNX Runtime, whose probabilities are painted.

    Attributes:
        file: ONNX file of an ESPNetv2 or the like.
        providers: execution providers of ONNX Runtime, in order of preference; every one must be there.
    """

    file: Path | None = None
    providers: tuple[str, ...] = ("CPUExecutionProvider",)

    def open(self) -> ScoreModel:
        """Loads the network.

        Raises:
            ConfigError: no file was named.
            ModelFileError: it is missing, or of another family.
        """
        from lidarloop_core.labelling.painting.semantic_model import open_semantic_model

        if self.file is None:
            raise ConfigError("received --mask-model semantic without a network; expected one: --semantic.file FILE")
        return open_semantic_model(self.file, providers=self.providers)


ScoreModelSpec = MaskModelSpec | SemanticModelSpec


def open_score_model(spec: ScoreModelSpec, drive: SampleSource, mask_cache: Path) -> ScoreModel:
    """Loads the network that paints a drive.

    Args:
        spec: which.
        drive: what it will look at.
        mask_cache: where the masks of slow mask models are kept, for other runs.

    Raises:
        ConfigError, DatasetError, ModelFileError: as the model's own.
    """
    if isinstance(spec, SemanticModelSpec):
        return spec.open()
    masks = spec.open(drive)
    return MaskScoreModel(CachedMaskModel(masks, spec, mask_cache) if spec.sees_pictures_alone else masks)


def key_of(spec: ScoreModelSpec, model: ScoreModel) -> str:
    """Name of the folder for a network's paints: a hash of all that its scores depend on, files by what they hold."""
    sees_pictures_alone = isinstance(spec, SemanticModelSpec) or spec.sees_pictures_alone
    # The name of a model that belongs to one drive holds the drive's.
    name = model.name if sees_pictures_alone else ""
    description: list[Any] = [type(spec).__name__, name, list(model.class_names), options_of(spec)]
    return paints_key(description)
