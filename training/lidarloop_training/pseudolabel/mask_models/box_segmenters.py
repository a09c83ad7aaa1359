"""Masks of what boxes hold: the Segment Anything models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.instance_masks import MaskWindow
from lidarloop_training.pseudolabel.mask_models.pretrained import Pretrained, as_picture

Picture = npt.NDArray[np.uint8]

_KINDS = ("sam", "sam2", "sam_hq", "sam3_tracker")
_BOXES_AT_ONCE = 16  # masks come in the picture's size: sixteen of 1600 × 900 are 90 MB


class BoxSegmenter:
    """SAM, SAM 2 and what the library runs like them: a picture is encoded once, then asked for each box.

    Raises:
        ConfigError: the model is none of these.
    """

    def __init__(self, pretrained: Pretrained) -> None:
        if pretrained.kind not in _KINDS:
            raise ConfigError(f"{pretrained.name} is a {pretrained.kind}; expected one of {', '.join(_KINDS)}")
        self._pretrained = pretrained

    def masks(self, pictures: Sequence[Picture], boxes: Sequence[npt.NDArray[np.float32]]) -> list[list[MaskWindow]]:
        """A mask for each (M, 4) box of each (H, W, 3) uint8 RGB picture, in that picture's pixels."""
        asked = [i for i, some in enumerate(boxes) if len(some)]
        found: list[list[MaskWindow]] = [[] for _ in pictures]
        if not asked:
            return found
        inputs = self._pretrained.inputs(images=[as_picture(pictures[i]) for i in asked])
        with self._pretrained.running():
            encoded = self._pretrained.model.get_image_embeddings(inputs["pixel_values"])
            for place, i in enumerate(asked):
                picture = _Encoded.of(inputs, encoded, place)
                for start in range(0, len(boxes[i]), _BOXES_AT_ONCE):
                    found[i] += self._masks_of(picture, boxes[i][start : start + _BOXES_AT_ONCE])
        return found

    def _masks_of(self, picture: _Encoded, boxes: npt.NDArray[np.float32]) -> list[MaskWindow]:
        pretrained = self._pretrained
        prompt = torch.tensor(boxes * picture.scale, dtype=torch.float32, device=pretrained.device)[None]
        outputs = pretrained.model(image_embeddings=picture.features, input_boxes=prompt, multimask_output=False)
        (masks,) = pretrained.processor.post_process_masks(outputs.pred_masks.float(), **picture.sizes)
        return [MaskWindow.of(mask) for mask in masks[:, 0].cpu().numpy().astype(np.bool_)]


@dataclass(frozen=True)
class _Encoded:
    """What the network has made of one picture.

    Attributes:
        features: the picture's encoding; of SAM 2 one at each of several resolutions.
        scale: x, y, x, y from the picture's pixels to the network's.
        sizes: what the processor needs to bring masks back to the picture's pixels.
    """

    features: Any
    scale: npt.NDArray[np.float32]
    sizes: dict[str, Any]

    @staticmethod
    def of(inputs: Any, encoded: Any, place: int) -> _Encoded:
        several = not isinstance(encoded, torch.Tensor)
        one = slice(place, place + 1)
        sizes = {"original_sizes": inputs["original_sizes"][one].tolist()}
        height, width = sizes["original_sizes"][0]
        # SAM keeps the aspect and pads; SAM 2 stretches, and its processor gives no size within its input.
        inner_height, inner_width = inputs["pixel_values"].shape[-2:]
        if "reshaped_input_sizes" in inputs:
            sizes["reshaped_input_sizes"] = inputs["reshaped_input_sizes"][one].tolist()
            inner_height, inner_width = sizes["reshaped_input_sizes"][0]
        scale = np.array([inner_width / width, inner_height / height] * 2, np.float32)
        return _Encoded([level[one] for level in encoded] if several else encoded[one], scale, sizes)
