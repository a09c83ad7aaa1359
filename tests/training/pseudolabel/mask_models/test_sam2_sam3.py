"""SAM 2 and SAM 3, whose processors need torchvision, which the rest of the project does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary
from lidarloop_core.sample import CameraImage

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
try:
    import torchvision  # noqa: F401
except Exception as error:  # one that does not fit torch fails in ways of its own
    pytest.skip(f"torchvision cannot be used ({error}); install the one that fits torch", allow_module_level=True)

from lidarloop_training.pseudolabel.mask_models.box_segmenters import BoxSegmenter  # noqa: E402
from lidarloop_training.pseudolabel.mask_models.pretrained import as_picture, load  # noqa: E402
from lidarloop_training.pseudolabel.mask_models.transformers import (  # noqa: E402
    TransformersMaskModelConfig,
    open_transformers_mask_model,
)
from tests.training.pseudolabel.mask_models import tiny_models  # noqa: E402

VOCABULARY = Vocabulary({"car": ("car", "van"), "pedestrian": ("person",)})


def picture(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (60, 100, 3)).astype(np.uint8)


def cameras(number: int) -> list[CameraImage]:
    def camera(pixels: npt.NDArray[np.uint8]) -> CameraImage:
        return CameraImage("CAM", lambda: pixels, np.eye(3), 100, 60, 0, SE3.identity(), None)

    return [camera(picture(i)) for i in range(number)]


def test_sam2_agrees_with_the_library(tmp_path: Path) -> None:
    folder = tiny_models.sam2(tmp_path / "sam2")
    pretrained = load("AutoModelForMaskGeneration", str(folder), processor="AutoProcessor", revision=None, device="cpu")
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 60, (20, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
    pixels = picture(1)
    inputs = pretrained.processor(images=as_picture(pixels), input_boxes=[corners.tolist()], return_tensors="pt")
    with torch.inference_mode():
        outputs = pretrained.model(**inputs, multimask_output=False)
    (library,) = pretrained.processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    (_, found) = BoxSegmenter(pretrained).masks([picture(2), pixels], [corners[:1], corners])
    different = 0
    for mask, want in zip(found, library[:, 0].numpy(), strict=True):
        whole = np.zeros((60, 100), np.bool_)
        height, width = mask.pixels.shape
        whole[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
        different += int((whole != want).sum())
    assert different <= 20


def test_sam3_alone_finds_every_phrase(tmp_path: Path) -> None:
    folder = tiny_models.sam3(tmp_path / "sam3")
    config = TransformersMaskModelConfig(min_score=0.0)
    mask_model = open_transformers_mask_model(str(folder), vocabulary=VOCABULARY, config=config, device="cpu")
    assert mask_model.name.startswith("sam3@")
    together = mask_model.find("s", cameras(3))
    for found in together:
        assert (found.width, found.height) == (100, 60)
        assert (np.diff(found.scores) <= 0).all()
        # Ten queries for each of the phrases.
        np.testing.assert_array_equal(np.bincount(found.labels), [20, 10])
        for mask in found.masks:
            height, width = mask.pixels.shape
            assert mask.left + width <= 100
            assert mask.top + height <= 60
    alone = open_transformers_mask_model(
        str(folder),
        vocabulary=VOCABULARY,
        config=TransformersMaskModelConfig(min_score=0.0, batch_size=1),
        device="cpu",
    ).find("s", cameras(3))
    for got, want in zip(together, alone, strict=True):
        np.testing.assert_allclose(got.scores, want.scores, atol=1e-5)
        np.testing.assert_allclose(np.sort(got.boxes, axis=0), np.sort(want.boxes, axis=0), atol=1e-2)
