"""Boxes of what a vocabulary names: text-prompted detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary
from lidarloop_training.pseudolabel.mask_models.pretrained import Pretrained, as_picture

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TextDetections:
    """What was found in one picture, best first.

    Attributes:
        boxes: (M, 4) float32 x_min, y_min, x_max, y_max in pixels, within the picture.
        scores: (M,) float32 in [0, 1].
        labels: (M,) int64 classes of the vocabulary.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class TextDetector(Protocol):
    """A detector of the things that its phrases name."""

    def detect(self, pictures: Sequence[Picture], min_score: float) -> list[TextDetections]:
        """Finds things in (H, W, 3) uint8 RGB pictures of one size."""
        ...


class GroundingDino:
    """Grounding DINO (Liu et al. 2023) and MM-Grounding-DINO: one text of all phrases, "car. van. traffic cone.".

    The network scores each box against each token. A phrase's score is the mean over its tokens, as in GLIP: taking
    whichever tokens stand out, as the library does, yields pieces of phrases that no class is called by.

    Raises:
        ConfigError: the phrases are too many for the network's text.
    """

    def __init__(self, pretrained: Pretrained, vocabulary: Vocabulary) -> None:
        self._pretrained = pretrained
        self._text = "".join(f"{phrase}. " for phrase in vocabulary.flat).strip()
        encoded = pretrained.processor.tokenizer(self._text, return_offsets_mapping=True)
        limit = int(pretrained.model.config.max_text_len)
        if len(encoded["input_ids"]) > limit:
            raise ConfigError(
                f"{pretrained.name} received phrases of {len(encoded['input_ids'])} tokens; it takes {limit}: "
                "give a smaller vocabulary"
            )
        self._tokens_of = _tokens_of(vocabulary.flat, encoded["offset_mapping"])
        self._labels = np.array(vocabulary.labels, np.int64)

    def detect(self, pictures: Sequence[Picture], min_score: float) -> list[TextDetections]:
        """See ``TextDetector``."""
        images = [as_picture(picture) for picture in pictures]
        inputs = self._pretrained.inputs(images=images, text=[self._text] * len(images))
        with self._pretrained.running():
            outputs = self._pretrained.model(**inputs)
        probability = outputs.logits.float().sigmoid()
        scores = torch.stack([probability[..., tokens].mean(dim=-1) for tokens in self._tokens_of], dim=-1)
        boxes = outputs.pred_boxes.float()
        return [
            _found(_corners(box, picture), score, self._labels, min_score, picture)
            for box, score, picture in zip(boxes, scores, pictures, strict=True)
        ]


class Owl:
    """OWL-ViT and OWLv2 (Minderer et al. 2022, 2023): each phrase a query of its own, "a photo of a car".

    Raises:
        ConfigError: a phrase is too long for the network.
    """

    def __init__(self, pretrained: Pretrained, vocabulary: Vocabulary) -> None:
        self._pretrained = pretrained
        self._queries = [f"a photo of a {phrase}" for phrase in vocabulary.flat]
        limit = int(pretrained.model.config.text_config.max_position_embeddings)
        lengths = [len(ids) for ids in pretrained.processor.tokenizer(self._queries)["input_ids"]]
        if max(lengths) > limit:
            longest = vocabulary.flat[int(np.argmax(lengths))]
            raise ConfigError(
                f"{pretrained.name} received the phrase {longest!r} of {max(lengths)} tokens with its template; "
                f"it takes {limit}: give a shorter phrase"
            )
        self._labels = np.array(vocabulary.labels, np.int64)

    def detect(self, pictures: Sequence[Picture], min_score: float) -> list[TextDetections]:
        """See ``TextDetector``."""
        images = [as_picture(picture) for picture in pictures]
        inputs = self._pretrained.inputs(images=images, text=[self._queries] * len(images))
        with self._pretrained.running():
            outputs = self._pretrained.model(**inputs)
        # OWLv2 pads pictures to squares at the right and below, OWL-ViT stretches them: its processor undoes it.
        outputs.logits, outputs.pred_boxes = outputs.logits.float(), outputs.pred_boxes.float()
        scaled = self._pretrained.processor.post_process_grounded_object_detection(
            outputs, threshold=-1.0, target_sizes=[picture.shape[:2] for picture in pictures]
        )
        scores = outputs.logits.sigmoid()
        return [
            _found(one["boxes"], score, self._labels, min_score, picture)
            for one, score, picture in zip(scaled, scores, pictures, strict=True)
        ]


_KINDS: dict[str, type[GroundingDino] | type[Owl]] = {
    "grounding-dino": GroundingDino,
    "mm-grounding-dino": GroundingDino,
    "owlvit": Owl,
    "owlv2": Owl,
}


def text_detector(pretrained: Pretrained, vocabulary: Vocabulary) -> TextDetector:
    """The detector that a model is.

    Raises:
        ConfigError: none that is known here, or the vocabulary does not fit it.
    """
    if pretrained.kind not in _KINDS:
        raise ConfigError(f"{pretrained.name} is a {pretrained.kind}; expected one of {', '.join(_KINDS)}")
    return _KINDS[pretrained.kind](pretrained, vocabulary)


def _tokens_of(phrases: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """For each phrase of the text its tokens; the text is the phrases, each followed by a full stop and a space."""
    found, start = [], 0
    for phrase in phrases:
        end = start + len(phrase)
        found.append([i for i, (first, last) in enumerate(offsets) if first >= start and first < last <= end])
        start = end + 2
    return found


def _corners(boxes: Any, picture: Picture) -> Any:
    """(Q, 4) centre, width, height as shares of the picture → corners in pixels."""
    height, width = picture.shape[:2]
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([center - half, center + half], dim=1) * boxes.new_tensor([width, height, width, height])


def _found(
    boxes: Any, scores: Any, labels: npt.NDArray[np.int64], min_score: float, picture: Picture
) -> TextDetections:
    """Boxes (Q, 4) whose best phrase of (Q, P) scores well, with the class of that phrase; flat ones are none."""
    height, width = picture.shape[:2]
    corners = np.clip(boxes.cpu().numpy(), 0, [width, height] * 2).astype(np.float32)
    table = scores.cpu().numpy().astype(np.float32)
    best = table.max(axis=1)
    kept = (best >= min_score) & (corners[:, 2:] > corners[:, :2]).all(axis=1)
    order = np.flatnonzero(kept)[np.argsort(-best[kept], kind="stable")]
    return TextDetections(corners[order], best[order], labels[table[order].argmax(axis=1)])
