"""Text-prompted models with random weights, loaded as those from the hub are, against the library's own way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.errors import BackendError, ConfigError, ModelFileError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary
from lidarloop_core.sample import CameraImage

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lidarloop_training.pseudolabel.mask_models.box_segmenters import BoxSegmenter  # noqa: E402
from lidarloop_training.pseudolabel.mask_models.pretrained import Pretrained, as_picture, load  # noqa: E402
from lidarloop_training.pseudolabel.mask_models.text_detectors import GroundingDino, Owl  # noqa: E402
from lidarloop_training.pseudolabel.mask_models.transformers import (  # noqa: E402
    TransformersMaskModelConfig,
    open_transformers_mask_model,
)
from tests.training.pseudolabel.mask_models import tiny_models  # noqa: E402

VOCABULARY = Vocabulary(
    {"car": ("car", "van"), "bicycle": ("bicycle",), "traffic_cone": ("traffic cone",), "pedestrian": ("person",)}
)
EVERYTHING = TransformersMaskModelConfig(min_score=0.0)
DETECTORS = ("grounding_dino", "owlv2")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for make in (tiny_models.grounding_dino, tiny_models.owlv2, tiny_models.sam):
        make(folder / make.__name__)
    return folder


def picture(seed: int, width: int = 100, height: int = 60) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def camera(pixels: npt.NDArray[np.uint8]) -> CameraImage:
    height, width = pixels.shape[:2]
    return CameraImage("CAM", lambda: pixels, np.eye(3), width, height, 0, SE3.identity(), None)


def loaded(folder: Path, task: str = "AutoModelForZeroShotObjectDetection") -> Pretrained:
    return load(task, str(folder), processor="AutoProcessor", revision=None, device="cpu")


def assert_alike(got: InstanceMasks, want: InstanceMasks, atol: float) -> None:
    assert len(got) == len(want)
    np.testing.assert_allclose(got.scores, want.scores, atol=atol)
    np.testing.assert_allclose(got.boxes, want.boxes, atol=1000 * atol)
    np.testing.assert_array_equal(got.labels, want.labels)
    assert [(m.left, m.top, m.pixels.tolist()) for m in got.masks] == [
        (m.left, m.top, m.pixels.tolist()) for m in want.masks
    ]


@pytest.mark.parametrize("detector", DETECTORS)
def test_masks_come_in_each_pictures_own_pixels(models: Path, detector: str) -> None:
    mask_model = open_transformers_mask_model(
        str(models / detector), str(models / "sam"), vocabulary=VOCABULARY, config=EVERYTHING, device="cpu"
    )
    sizes = [(100, 60), (60, 100), (100, 60)]
    answers = mask_model.find("s", [camera(picture(i, *size)) for i, size in enumerate(sizes)])
    assert mask_model.class_names == VOCABULARY.class_names
    assert [(a.width, a.height) for a in answers] == sizes
    for answer in answers:
        assert len(answer) > 0
        assert (np.diff(answer.scores) <= 0).all()
        assert ((answer.scores >= 0) & (answer.scores <= 1)).all()
        assert (answer.boxes >= 0).all()
        assert (answer.boxes <= [answer.width, answer.height] * 2).all()
        for mask in answer.masks:
            height, width = mask.pixels.shape
            assert mask.left + width <= answer.width
            assert mask.top + height <= answer.height
    assert len(np.unique(np.concatenate([a.labels for a in answers]))) > 1


@pytest.mark.parametrize("detector", DETECTORS)
def test_batches_say_what_single_pictures_say_every_time(models: Path, detector: str) -> None:
    def answers(batch_size: int) -> list[InstanceMasks]:
        config = TransformersMaskModelConfig(min_score=0.0, batch_size=batch_size)
        mask_model = open_transformers_mask_model(
            str(models / detector), str(models / "sam"), vocabulary=VOCABULARY, config=config, device="cpu"
        )
        return mask_model.find("s", [camera(picture(i)) for i in range(3)])

    singly = answers(1)
    for got, want in zip(answers(3), singly, strict=True):
        assert_alike(got, want, atol=1e-5)
    for got, want in zip(answers(1), singly, strict=True):
        assert_alike(got, want, atol=0)


def test_min_score(models: Path) -> None:
    def found(min_score: float) -> InstanceMasks:
        mask_model = open_transformers_mask_model(
            str(models / "grounding_dino"),
            str(models / "sam"),
            vocabulary=VOCABULARY,
            config=TransformersMaskModelConfig(min_score=min_score),
            device="cpu",
        )
        return mask_model.find("s", [camera(picture(0))])[0]

    whole = found(0.0)
    threshold = float(np.median(whole.scores))
    assert_alike(found(threshold), whole[whole.scores >= threshold], atol=1e-6)
    none = found(1.0)
    assert (len(none[none.scores < 1]), none.width) == (0, 100)


def test_grounding_dino_scores_phrases_over_their_own_tokens(models: Path) -> None:
    pretrained = loaded(models / "grounding_dino")
    pixels = picture(3)
    text = "car. van. bicycle. traffic cone. person."
    inputs = pretrained.processor(images=as_picture(pixels), text=text, return_tensors="pt")
    assert pretrained.processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist()) == (
        ["[CLS]", "car", ".", "van", ".", "bicy", "##cle", ".", "traffic", "cone", ".", "person", ".", "[SEP]"]
    )
    with torch.inference_mode():
        outputs = pretrained.model(**inputs)
    (library,) = pretrained.processor.post_process_grounded_object_detection(
        outputs, threshold=0.0, target_sizes=[(60, 100)]
    )
    probability = outputs.logits[0].sigmoid().numpy()
    tokens_of = (slice(1, 2), slice(3, 4), slice(5, 7), slice(8, 10), slice(11, 12))
    phrases = np.stack([probability[:, tokens].mean(axis=1) for tokens in tokens_of], axis=1)
    order = np.argsort(-phrases.max(axis=1), kind="stable")
    (found,) = GroundingDino(pretrained, VOCABULARY).detect([pixels], 0.0)
    np.testing.assert_allclose(found.scores, phrases.max(axis=1)[order], rtol=1e-5)
    np.testing.assert_array_equal(found.labels, np.array([0, 0, 1, 2, 3])[phrases.argmax(axis=1)[order]])
    clipped = np.clip(library["boxes"].numpy(), 0, [100, 60, 100, 60])
    np.testing.assert_allclose(found.boxes, clipped[order], atol=1e-4)


def test_owl_agrees_with_the_library(models: Path) -> None:
    pretrained = loaded(models / "owlv2")
    pixels = picture(4)
    queries = [f"a photo of a {phrase}" for phrase in VOCABULARY.flat]
    inputs = pretrained.processor(images=as_picture(pixels), text=[queries], return_tensors="pt")
    with torch.inference_mode():
        outputs = pretrained.model(**inputs)
    (library,) = pretrained.processor.post_process_grounded_object_detection(
        outputs, threshold=0.0, target_sizes=[(60, 100)]
    )
    boxes = np.clip(library["boxes"].numpy(), 0, [100, 60, 100, 60])
    whole = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    scores = library["scores"].numpy()[whole]
    order = np.argsort(-scores, kind="stable")
    (found,) = Owl(pretrained, VOCABULARY).detect([pixels], 0.0)
    np.testing.assert_allclose(found.scores, scores[order], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, boxes[whole][order], atol=1e-4)
    np.testing.assert_array_equal(found.labels, np.array([0, 0, 1, 2, 3])[library["labels"].numpy()[whole][order]])


@pytest.mark.parametrize("size", [(100, 60), (60, 100)])
def test_sam_agrees_with_the_library(models: Path, size: tuple[int, int]) -> None:
    pretrained = loaded(models / "sam", "AutoModelForMaskGeneration")
    pixels = picture(5, *size)
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, min(size), (20, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
    inputs = pretrained.processor(images=as_picture(pixels), input_boxes=[corners.tolist()], return_tensors="pt")
    with torch.inference_mode():
        outputs = pretrained.model(**inputs, multimask_output=False)
    (library,) = pretrained.processor.post_process_masks(
        outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    found = BoxSegmenter(pretrained).masks([pixels, pixels], [np.zeros((0, 4), np.float32), corners])
    assert found[0] == []
    different = 0
    for mask, want in zip(found[1], library[:, 0].numpy(), strict=True):
        whole = np.zeros(size[::-1], np.bool_)
        height, width = mask.pixels.shape
        whole[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
        different += int((whole != want).sum())
    assert different <= 20  # of 120,000 pixels: those whose logit rounds to the other side of zero


def test_names_tell_the_weights(models: Path, tmp_path: Path) -> None:
    mask_model = open_transformers_mask_model(str(models / "owlv2"), str(models / "sam"), device="cpu")
    detector, segmenter = mask_model.name.split(" x ")
    assert detector.startswith("owlv2@")
    assert segmenter.startswith("sam@")
    assert len(detector.split("@")[1]) == 12


@pytest.mark.parametrize(
    ("detector", "segmenter", "error", "words"),
    [
        ("sam", "sam", ModelFileError, "AutoModelForZeroShotObjectDetection"),
        ("owlv2", "owlv2", ModelFileError, "AutoModelForMaskGeneration"),
        ("nowhere", "sam", ModelFileError, "expected a folder"),
        ("owlv2", None, ConfigError, "gives no masks; expected a segmenter"),
    ],
)
def test_models_of_another_task(
    models: Path, detector: str, segmenter: str | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_transformers_mask_model(
            str(models / detector), None if segmenter is None else str(models / segmenter), device="cpu"
        )


def test_weights_that_are_no_safetensors_are_refused(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for path in (models / "sam").iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelFileError):
        loaded(folder, "AutoModelForMaskGeneration")


def test_code_that_comes_with_weights_is_not_run(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    for path in (models / "sam").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "evil"
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForMaskGeneration": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(ModelFileError):
        loaded(folder, "AutoModelForMaskGeneration")
    assert not (tmp_path / "ran").exists()


def test_vocabularies_that_do_not_fit(models: Path, tmp_path: Path) -> None:
    short = tiny_models.grounding_dino(tmp_path / "short", max_text_len=8)
    with pytest.raises(ConfigError, match="give a smaller vocabulary"):
        open_transformers_mask_model(str(short), str(models / "sam"), device="cpu")
    long = Vocabulary({"car": ("car " * 20 + "van",)})
    with pytest.raises(ConfigError, match="give a shorter phrase"):
        open_transformers_mask_model(str(models / "owlv2"), str(models / "sam"), vocabulary=long, device="cpu")
    with pytest.raises(ConfigError, match="expected a score"):
        TransformersMaskModelConfig(min_score=2)


def test_a_machine_without_the_library(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(BackendError, match="pip install"):
        loaded(models / "sam", "AutoModelForMaskGeneration")


@pytest.mark.gpu
@pytest.mark.parametrize("detector", DETECTORS)
def test_half_precision_on_a_gpu_finds_the_same(models: Path, detector: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")

    def answers(device: str) -> Sequence[InstanceMasks]:
        mask_model = open_transformers_mask_model(
            str(models / detector), str(models / "sam"), vocabulary=VOCABULARY, config=EVERYTHING, device=device
        )
        return mask_model.find("s", [camera(picture(i)) for i in range(3)])

    for got, want in zip(answers("cuda"), answers("cpu"), strict=True):
        assert abs(len(got) - len(want)) <= 1
        np.testing.assert_allclose(got.scores[:5], want.scores[:5], atol=0.02)
