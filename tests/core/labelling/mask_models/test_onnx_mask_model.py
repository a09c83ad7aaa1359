"""The mask model of two ONNX networks: what is fed to them, how answers are read, and masks from boxes and classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lidarloop_core.errors import BackendError, ConfigError, ModelFileError
from lidarloop_core.geometry.boxes import corners
from lidarloop_core.geometry.camera import project
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.mask_models.onnx_adapters import (
    CityscapesSegmenter,
    FastestDetector,
    YoloxDetector,
    detector_of,
)
from lidarloop_core.labelling.mask_models.onnx_classes import (
    CITYSCAPES_CLASSES,
    COCO_CLASSES,
    STREET_RULES,
    ClassRule,
)
from lidarloop_core.labelling.mask_models.onnx_mask_model import (
    OnnxMaskModel,
    OnnxMaskModelConfig,
    open_onnx_mask_model,
)
from lidarloop_core.labelling.mask_models.onnx_network import OnnxNetwork
from lidarloop_core.labelling.mask_models.onnx_tiles import Window
from lidarloop_core.sample import CameraImage, camera_SE3_lidar

pytest.importorskip("onnx")

from tests.core.labelling.mask_models import tiny_networks
from tests.core.labelling.mask_models.tiny_networks import CLASSES

RED, GREEN, BLUE = np.eye(3, dtype=np.uint8) * 255
RULES = (
    ClassRule("apple", ("red",), ("red",)),
    ClassRule("pear", ("green",), ("green",)),
    ClassRule("plum", ("blue",), ("blue",)),
)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> YoloxDetector:
    path = tiny_networks.detector(tmp_path_factory.mktemp("nets") / "detector.onnx")
    return YoloxDetector(OnnxNetwork(path), CLASSES)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> CityscapesSegmenter:
    path = tiny_networks.segmenter(tmp_path_factory.mktemp("nets") / "segmenter.onnx")
    return CityscapesSegmenter(OnnxNetwork(path), CLASSES)


def black(width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def whole(masks: InstanceMasks, index: int) -> npt.NDArray[np.bool_]:
    mask = masks.masks[index]
    picture = np.zeros((masks.height, masks.width), np.bool_)
    height, width = mask.pixels.shape
    picture[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return picture


# --- the adapters -----------------------------------------------------------------------------------------------------


def test_yolox_boxes_come_back_in_the_pictures_pixels(detector: YoloxDetector) -> None:
    """A window of 64 × 48 is halved and letterboxed: its left cell of 16 pixels is one of 8 in the network."""
    picture = black(100, 80)
    picture[20 + 16 : 20 + 32, 10 + 32 : 10 + 48] = GREEN
    seen = detector.detect(Image.fromarray(picture), Window(10, 20, 74, 68))
    best = int(seen.scores.max(axis=1).argmax())
    np.testing.assert_allclose(seen.boxes[best], [42, 36, 58, 52], atol=1e-4)
    assert seen.scores[best, 1] > 0.85  # shrinking mixes in a little of what lies beside
    np.testing.assert_array_equal(seen.scores[best, [0, 2]], 0)
    assert len(seen.boxes) == 16 + 4 + 1


def test_yolox_sees_pixels_as_they_are(detector: YoloxDetector) -> None:
    picture = black(32, 32)
    picture[8:16, 16:24] = GREEN
    picture[0:16, 0:16] = RED // 2 + 1
    seen = detector.detect(Image.fromarray(picture), Window(0, 0, 32, 32))
    order = np.argsort(-seen.scores.max(axis=1), kind="stable")
    np.testing.assert_allclose(seen.boxes[order[0]], [16, 8, 24, 16], atol=1e-5)
    np.testing.assert_allclose(seen.scores[order[0]], [0, 1, 0], atol=1e-6)
    red = (128 / 255, 1 / 255, 1 / 255)
    np.testing.assert_allclose(seen.scores[order[1:6]], [np.multiply(sum(red), red)] * 5, rtol=1e-5)
    assert [16, 16] in (seen.boxes[order[1:6], 2:] - seen.boxes[order[1:6], :2]).round(4).tolist()


def test_yolox_pads_with_its_grey(detector: YoloxDetector) -> None:
    seen = detector.detect(Image.fromarray(black(64, 32)), Window(0, 0, 64, 32))
    below = seen.boxes[:, 1] >= 32
    share = 114 / 255
    np.testing.assert_allclose(seen.scores[below & (seen.boxes[:, 3] <= 64)], 3 * share * share, rtol=1e-5)
    assert (seen.scores[~below & (seen.boxes[:, 3] <= 32)] == 0).all()


def test_fastest_boxes_by_their_formula(tmp_path: Path) -> None:
    network = OnnxNetwork(tiny_networks.fastest(tmp_path / "fastest.onnx"))
    picture = black(80, 40)
    picture[10:20, 40:60] = BLUE
    seen = FastestDetector(network, CLASSES).detect(Image.fromarray(picture), Window(0, 0, 80, 40))
    best = int(seen.scores.max(axis=1).argmax())
    # Column 2, row 1 of 4 × 4; tanh gives half a cell; sigmoid of nought gives half the picture.
    x, y = 2.5 / 4 * 80, 1.5 / 4 * 40
    np.testing.assert_allclose(seen.boxes[best], [x - 20, y - 10, x + 20, y + 10], atol=1e-3)
    assert seen.scores[best, 2] > 0.9
    np.testing.assert_array_equal(seen.scores[best, :2], 0)


def test_segmenter_gives_probabilities_of_named_classes(segmenter: CityscapesSegmenter) -> None:
    picture = black(128, 64)
    picture[:, 64:] = RED
    seen = segmenter.segment(Image.fromarray(picture), Window(0, 0, 128, 64))
    assert seen.shape == (3, 32, 64)
    red = np.exp(20) / (np.exp(20) + np.exp(10) + 2)
    np.testing.assert_allclose(seen[0, :, 40:], red, rtol=1e-5)
    assert (seen[:, :, :24] < 1e-4).all()  # the last channel has it


def test_networks_are_told_apart_by_their_output(tmp_path: Path) -> None:
    assert isinstance(detector_of(OnnxNetwork(tiny_networks.detector(tmp_path / "a.onnx")), CLASSES), YoloxDetector)
    assert isinstance(detector_of(OnnxNetwork(tiny_networks.fastest(tmp_path / "b.onnx")), CLASSES), FastestDetector)


def test_networks_of_other_families_are_refused(tmp_path: Path) -> None:
    boxes = tiny_networks.detector(tmp_path / "boxes.onnx")
    classes = tiny_networks.segmenter(tmp_path / "classes.onnx")
    with pytest.raises(ModelFileError, match="of a YOLOX with 80 classes"):
        detector_of(OnnxNetwork(boxes))
    with pytest.raises(ModelFileError, match="of a FastestDet with 80 classes"):
        detector_of(OnnxNetwork(classes))
    with pytest.raises(ModelFileError, match="≥ 19"):
        CityscapesSegmenter(OnnxNetwork(classes))
    with pytest.raises(ModelFileError, match="logits"):
        CityscapesSegmenter(OnnxNetwork(boxes), CLASSES)


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        OnnxNetwork(tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ModelFileError, match="cannot be loaded by onnxruntime"):
        OnnxNetwork(tmp_path / "text.onnx")


def test_inputs_of_another_form(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    for shape in ([1, 3, None, None], [1, 1, 32, 32], [1, 3]):
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
        with pytest.raises(ModelFileError, match="expected one picture of fixed size"):
            OnnxNetwork(tmp_path / "x.onnx")


def test_a_provider_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tiny_networks.detector(tmp_path / "a.onnx")
    with pytest.raises(BackendError, match="received providers NoSuchProvider"):
        OnnxNetwork(path, providers=("NoSuchProvider",))
    assert OnnxNetwork(path).name.startswith("a.onnx@")


def test_class_lists() -> None:
    assert (len(COCO_CLASSES), len(CITYSCAPES_CLASSES)) == (80, 19)
    assert [COCO_CLASSES.index(n) for n in ("person", "car", "bus", "truck", "toothbrush")] == [0, 2, 5, 7, 79]
    assert [CITYSCAPES_CLASSES.index(n) for n in ("road", "person", "car", "bicycle")] == [0, 11, 13, 18]
    for rule in STREET_RULES:
        assert set(rule.detected) <= set(COCO_CLASSES)
        assert set(rule.shown) <= set(CITYSCAPES_CLASSES)


# --- the mask model ---------------------------------------------------------------------------------------------------

AT_ONCE = OnnxMaskModelConfig(zooms=(), segmenter_zooms=())


def test_boxes_and_masks_of_a_picture(detector: YoloxDetector, segmenter: CityscapesSegmenter) -> None:
    """Red and green squares of one cell each: found where they are, masks of their own pixels, best first."""
    picture = black(64, 64)
    picture[16:32, 32:48] = RED
    picture[48:64, 0:16] = GREEN // 2 + GREEN // 4
    mask_model = OnnxMaskModel(detector, segmenter, rules=RULES, config=AT_ONCE)
    found = mask_model.find_in(picture)
    assert [mask_model.class_names[label] for label in found.labels] == ["apple", "pear"]
    np.testing.assert_allclose(found.boxes, [[32, 16, 48, 32], [0, 48, 16, 64]], atol=1e-3)
    assert (found.width, found.height) == (64, 64)
    for index, color in ((0, RED), (1, GREEN // 2 + GREEN // 4)):
        overlap = whole(found, index) & (picture == color).all(axis=2)
        assert overlap.sum() >= 0.8 * 256
        assert (whole(found, index) & ~(picture == color).all(axis=2)).sum() <= 0.1 * 256


def test_an_empty_picture_has_an_empty_answer(detector: YoloxDetector, segmenter: CityscapesSegmenter) -> None:
    mask_model = OnnxMaskModel(detector, segmenter, rules=RULES)
    found = mask_model.find_in(black(90, 50))
    assert (len(found), found.width, found.height) == (0, 90, 50)


def test_small_things_are_seen_in_windows(detector: YoloxDetector, segmenter: CityscapesSegmenter) -> None:
    """Eight pixels of 256 are one of the network's when it sees all at once, and a cell of it in a window."""
    picture = black(256, 128)
    picture[56:64, 120:128] = BLUE
    blind = OnnxMaskModel(detector, segmenter, rules=RULES, config=AT_ONCE)
    assert len(blind.find_in(picture)) == 0
    config = OnnxMaskModelConfig(zooms=(1.0,), segmenter_zooms=(1.0,), agreeing_scales=1, overlap=0.5)
    found = OnnxMaskModel(detector, segmenter, rules=RULES, config=config).find_in(picture)
    assert [RULES[k].name for k in found.labels] == ["plum"]
    np.testing.assert_allclose(found.boxes[0], [120, 56, 128, 64], atol=1)
    covered = whole(found, 0)
    assert covered[57:63, 121:127].all()
    assert covered.sum() <= 100


def test_scales_have_to_agree(detector: YoloxDetector, segmenter: CityscapesSegmenter) -> None:
    picture = black(256, 128)
    picture[56:64, 120:128] = BLUE

    def score(agreeing_scales: int) -> float:
        config = OnnxMaskModelConfig(
            zooms=(1.0,), segmenter_zooms=(1.0,), agreeing_scales=agreeing_scales, overlap=0.5, min_detection=0.0
        )
        return float(OnnxMaskModel(detector, segmenter, rules=RULES, config=config).find_in(picture).scores[0])

    assert score(2) < 0.75 * score(1)
    assert score(9) == score(2)  # there are but two


def test_a_camera_is_loaded_and_answered(detector: YoloxDetector, segmenter: CityscapesSegmenter) -> None:
    picture = black(64, 64)
    picture[16:32, 32:48] = RED
    camera = CameraImage("C", lambda: picture, np.eye(3), 64, 64, 0, SE3.identity(), None)
    mask_model = OnnxMaskModel(detector, segmenter, rules=RULES, config=AT_ONCE)
    answers = mask_model.find("s", [camera, camera])
    assert [len(answer) for answer in answers] == [1, 1]
    np.testing.assert_array_equal(answers[0].boxes, mask_model.find_in(picture).boxes)


def test_a_rider_and_its_mount_are_one(detector: YoloxDetector, segmenter: CityscapesSegmenter) -> None:
    """Red, a large cell of it, rides blue, the small cell at its lower left."""
    picture = black(64, 64)
    picture[0:32, 32:64] = RED
    picture[16:32, 32:48] = BLUE
    rider = [32.0, 0.0, 64.0, 32.0]

    def boxes_of(name: str, *rules: ClassRule) -> list[list[float]]:
        found = OnnxMaskModel(detector, segmenter, rules=rules, config=AT_ONCE).find_in(picture)
        return found.boxes[[rules[label].name == name for label in found.labels]].round(3).tolist()

    apple, plum = RULES[0], RULES[2]
    ridden = ClassRule("plum", ("blue",), ("blue",), rider="apple")
    assert rider in boxes_of("apple", apple, plum)
    assert boxes_of("plum", apple, plum) == [[32.0, 16.0, 48.0, 32.0]]
    assert rider not in boxes_of("apple", apple, ridden)
    assert boxes_of("plum", apple, ridden) == [rider]
    found = OnnxMaskModel(detector, segmenter, rules=(apple, ridden), config=AT_ONCE).find_in(picture)
    (index,) = np.flatnonzero(found.labels == 1)
    covered = whole(found, int(index))
    assert covered[18:30, 34:46].all()
    assert covered[:14].any()  # of the rider, too


def test_rules_that_do_not_fit(detector: YoloxDetector, segmenter: CityscapesSegmenter) -> None:
    for rules, words in (
        ([ClassRule("a", ("yellow",), ("red",))], "for yellow; it has red, green, blue"),
        ([ClassRule("a", ("red",), ("yellow",))], "for yellow; it has red, green, blue"),
        ([ClassRule("a", ("red",), ("red",)), ClassRule("a", ("blue",), ("blue",))], "distinct names"),
        ([ClassRule("a", ("red",), ("red",), rider="b")], "riders among them"),
        ([], "distinct names"),
    ):
        with pytest.raises(ConfigError, match=words):
            OnnxMaskModel(detector, segmenter, rules=rules)


@pytest.mark.parametrize(
    "wrong",
    [{"overlap": 0.95}, {"min_pixel": -0.1}, {"max_iou": 1.5}, {"zooms": (0.0,)}, {"agreeing_scales": 0}],
)
def test_config_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        OnnxMaskModelConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.real
def test_real_networks_find_what_is_labelled(real_data: Path) -> None:
    """Of one picture of nuScenes, quickly: a detection's mask lies where the labelled boxes project to."""
    from lidarloop_training.data.nuscenes.single_sweep import NuScenesSweepSource

    models = real_data / "models2d"
    config = OnnxMaskModelConfig(zooms=(2.0,), segmenter_zooms=(), agreeing_scales=1, min_detection=0.5)
    mask_model = open_onnx_mask_model(
        models / "yolox_nano_bigisland.onnx", models / "espnetv2_s2_city_512x1024.onnx", config=config
    )
    sample = NuScenesSweepSource(real_data / "nuscenes_keyframe")[0]
    (camera,) = [c for c in sample.cameras if c.name == "CAM_BACK"]
    (found,) = mask_model.find(sample.token, [camera])
    assert sample.annotations is not None
    boxes = sample.annotations.boxes
    to_camera = camera_SE3_lidar(camera, sample.keyframe)
    hits = {}
    for index, label in enumerate(found.labels):
        mask = found.masks[index]
        middle = np.array([mask.left + mask.pixels.shape[1] / 2, mask.top + mask.pixels.shape[0] / 2])
        for i in np.flatnonzero(np.array(boxes.names) == mask_model.class_names[label]):
            vertices = to_camera.transform(corners(boxes.values[[i]].astype(np.float64))[0])
            if (vertices[:, 2] > 0.5).all():
                pixels, _ = project(vertices, camera.intrinsics)
                if ((pixels.min(axis=0) <= middle) & (middle <= pixels.max(axis=0))).all():
                    hits[index] = i
    assert {"pedestrian", "car"} <= {mask_model.class_names[found.labels[i]] for i in hits}
    assert len(hits) >= 0.75 * len(found)
