"""Text-prompted vision foundation models as mask models: a detector with Segment Anything, or SAM 3 alone.

The only modules that need torch and transformers are this one and those it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary
from lidarloop_core.sample import CameraImage
from lidarloop_training.pseudolabel.mask_models.box_segmenters import BoxSegmenter
from lidarloop_training.pseudolabel.mask_models.pretrained import Pretrained, as_picture, load
from lidarloop_training.pseudolabel.mask_models.text_detectors import TextDetections, TextDetector, text_detector

Picture = npt.NDArray[np.uint8]
Find = Callable[[Sequence[Picture]], list[InstanceMasks]]


@dataclass(frozen=True)
class TransformersMaskModelConfig:
    """How the models are run.

    Attributes:
        min_score: lowest score of a detection that is kept. The paper takes Detic's of 0.1 and more; Grounding DINO's
            authors start at 0.25.
        batch_size: pictures at once; only those of one size go together, so that none is padded.
    """

    min_score: float = 0.2
    batch_size: int = 6

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1 or self.batch_size < 1:
            raise ConfigError(f"received {self}; expected a score between 0 and 1 and a batch of at least 1")


class TransformersMaskModel:
    """A ``MaskModel``: a text-prompted detector's boxes, cut out by a Segment Anything model.

    Args:
        name: names of both models, for provenance.
        detector: finds boxes by the vocabulary's phrases.
        segmenter: cuts boxes out.
        vocabulary: classes behind the detector's labels.
        config: how the models are run.
    """

    def __init__(
        self,
        name: str,
        detector: TextDetector,
        segmenter: BoxSegmenter,
        vocabulary: Vocabulary,
        config: TransformersMaskModelConfig,
    ) -> None:
        self.name = name
        self.class_names = vocabulary.class_names
        self._detector, self._segmenter, self._config = detector, segmenter, config

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        """See ``MaskModel``; the sample's token does not matter."""
        return _in_batches(images, self._config.batch_size, self._find_in)

    def _find_in(self, pictures: Sequence[Picture]) -> list[InstanceMasks]:
        detections = self._detector.detect(pictures, self._config.min_score)
        masks = self._segmenter.masks(pictures, [found.boxes for found in detections])
        return [
            _as_instance_masks(found, tuple(some), self.class_names, picture)
            for found, some, picture in zip(detections, masks, pictures, strict=True)
        ]


class Sam3MaskModel:
    """A ``MaskModel`` of SAM 3 (Meta 2025) alone: it finds and cuts out all instances of one phrase at a time.

    Args:
        pretrained: a ``Sam3Model`` with its processor.
        vocabulary: whose phrases it is asked for, one after another; each picture is encoded once.
        config: see there.
    """

    def __init__(self, pretrained: Pretrained, vocabulary: Vocabulary, config: TransformersMaskModelConfig) -> None:
        self.name = pretrained.name
        self.class_names = vocabulary.class_names
        self._pretrained, self._vocabulary, self._config = pretrained, vocabulary, config

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        """See ``MaskModel``; the sample's token does not matter."""
        return _in_batches(images, self._config.batch_size, self._find_in)

    def _find_in(self, pictures: Sequence[Picture]) -> list[InstanceMasks]:
        pretrained, vocabulary = self._pretrained, self._vocabulary
        sizes = [picture.shape[:2] for picture in pictures]
        found: list[list[tuple[float, int, Any, MaskWindow]]] = [[] for _ in pictures]
        inputs = pretrained.inputs(images=[as_picture(picture) for picture in pictures])
        with pretrained.running():
            encoded = pretrained.model.get_vision_features(pixel_values=inputs["pixel_values"])
            for phrase, label in zip(vocabulary.flat, vocabulary.labels, strict=True):
                text = pretrained.inputs(text=[phrase] * len(pictures))
                outputs = pretrained.model(
                    vision_embeds=encoded, input_ids=text["input_ids"], attention_mask=text["attention_mask"]
                )
                answers = pretrained.processor.post_process_instance_segmentation(
                    outputs, threshold=self._config.min_score, mask_threshold=0.5, target_sizes=sizes
                )
                for one, answer in zip(found, answers, strict=True):
                    boxes, scores = answer["boxes"].float().cpu().numpy(), answer["scores"].float().cpu().numpy()
                    masks = answer["masks"].cpu().numpy().astype(np.bool_)
                    one += [
                        (float(s), label, b, MaskWindow.of(m)) for s, b, m in zip(scores, boxes, masks, strict=True)
                    ]
        return [self._joined(one, picture) for one, picture in zip(found, pictures, strict=True)]

    def _joined(self, found: list[tuple[float, int, Any, MaskWindow]], picture: Picture) -> InstanceMasks:
        best_first = sorted(found, key=lambda one: -one[0])
        height, width = picture.shape[:2]
        boxes = np.array([box for _, _, box, _ in best_first], np.float32).reshape(-1, 4)
        detections = TextDetections(
            np.clip(boxes, 0, [width, height] * 2).astype(np.float32),
            np.array([score for score, *_ in best_first], np.float32),
            np.array([label for _, label, *_ in best_first], np.int64),
        )
        masks = tuple(mask for *_, mask in best_first)
        return _as_instance_masks(detections, masks, self.class_names, picture)


def open_transformers_mask_model(
    detector: str,
    segmenter: str | None = None,
    *,
    vocabulary: Vocabulary | None = None,
    config: TransformersMaskModelConfig | None = None,
    detector_revision: str | None = None,
    segmenter_revision: str | None = None,
    device: str | None = None,
) -> MaskModel:
    """A mask model made of models of the transformers library.

    Args:
        detector: folder or hub id of a Grounding DINO, OWL-ViT or OWLv2, e.g. "IDEA-Research/grounding-dino-base";
            or of a SAM 3, which needs no segmenter.
        segmenter: folder or hub id of a SAM or SAM 2, e.g. "facebook/sam-vit-base".
        vocabulary: what to look for; nuScenes' ten classes by default.
        config: see there.
        detector_revision, segmenter_revision: on the hub: branch, tag or commit.
        device: e.g. "cuda:1"; the first GPU, else the CPU, by default.

    Raises:
        BackendError: transformers or something that a model needs is not installed.
        ModelFileError: a model cannot be had.
        ConfigError: a model is of another kind, or the vocabulary does not fit it.
    """
    vocabulary, config = vocabulary or Vocabulary.nuscenes(), config or TransformersMaskModelConfig()
    if segmenter is None:
        alone = load("AutoModel", detector, processor="AutoProcessor", revision=detector_revision, device=device)
        if alone.kind != "sam3":
            raise ConfigError(
                f"{alone.name} is a {alone.kind}, which gives no masks; expected a segmenter with it, too"
            )
        return Sam3MaskModel(alone, vocabulary, config)
    boxes = load(
        "AutoModelForZeroShotObjectDetection",
        detector,
        processor="AutoProcessor",
        revision=detector_revision,
        device=device,
    )
    masks = load(
        "AutoModelForMaskGeneration", segmenter, processor="AutoProcessor", revision=segmenter_revision, device=device
    )
    name = f"{boxes.name} x {masks.name}"
    return TransformersMaskModel(name, text_detector(boxes, vocabulary), BoxSegmenter(masks), vocabulary, config)


def _in_batches(images: Sequence[CameraImage], batch_size: int, find: Find) -> list[InstanceMasks]:
    """Answers in the images' order; pictures of one size go together."""
    pictures = [image.load() for image in images]
    by_size: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        by_size.setdefault(picture.shape, []).append(i)
    answers: dict[int, InstanceMasks] = {}
    for alike in by_size.values():
        for start in range(0, len(alike), batch_size):
            group = alike[start : start + batch_size]
            answers |= zip(group, find([pictures[i] for i in group]), strict=True)
    return [answers[i] for i in range(len(images))]


def _as_instance_masks(
    found: TextDetections, masks: tuple[MaskWindow, ...], class_names: tuple[str, ...], picture: Picture
) -> InstanceMasks:
    height, width = picture.shape[:2]
    return InstanceMasks(found.boxes, found.scores, found.labels, masks, class_names, width, height)
