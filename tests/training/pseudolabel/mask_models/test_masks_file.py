"""Ready-made masks: from files, and of the toy town."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import ImageFile
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.mask_models.masks_file import MasksFile
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary
from lidarloop_core.sample import CameraImage
from lidarloop_training.pseudolabel.mask_models.toytown import ToyTownMaskModel, write_masks
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.faults.rates import FaultRates
from lidarloop_training.toytown.mask_model import DegradedMasks

WIDTH, HEIGHT = 40, 30


def camera(name: str, load: Callable[[], npt.NDArray[np.uint8]] | None = None) -> CameraImage:
    def never() -> npt.NDArray[np.uint8]:
        raise AssertionError("ready-made masks need no picture")

    return CameraImage(name, load or never, np.eye(3), WIDTH, HEIGHT, 0, SE3.identity(), None)


def square(top: int = 5, left: int = 10) -> npt.NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top : top + 6, left : left + 8] = True
    mask[top, left] = False
    return mask


def compressed(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode()}


def uncompressed(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Run lengths by definition: down the columns, first those outside."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, len(flat)]).tolist()}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "images": [
            {
                "id": 7,
                "file_name": "CAM_FRONT/a.jpg",
                "width": WIDTH,
                "height": HEIGHT,
                "sample_token": "s",
                "camera": "CAM_FRONT",
            },
            {
                "id": 8,
                "file_name": "CAM_BACK/a.jpg",
                "width": WIDTH,
                "height": HEIGHT,
                "sample_token": "s",
                "camera": "CAM_BACK",
            },
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": compressed(square()), "score": 0.5},
            {
                "id": 2,
                "image_id": 7,
                "category_id": 4,
                "segmentation": uncompressed(square(12, 2)),
                "bbox": [1, 11, 12, 9],
            },
            {"id": 3, "image_id": 7, "category_id": 5, "segmentation": compressed(square())},
        ],
        "categories": [{"id": 3, "name": "Person"}, {"id": 4, "name": "car"}, {"id": 5, "name": "sofa"}],
        **changes,
    }


def written(folder: Path, content: Any, name: str = "masks.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def whole(masks: InstanceMasks, index: int) -> npt.NDArray[np.bool_]:
    mask = masks.masks[index]
    picture = np.zeros((masks.height, masks.width), np.bool_)
    height, width = mask.pixels.shape
    picture[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return picture


def assert_equal(got: InstanceMasks, want: InstanceMasks) -> None:
    assert (got.class_names, got.width, got.height) == (want.class_names, want.width, want.height)
    np.testing.assert_array_equal(got.boxes, want.boxes)
    np.testing.assert_array_equal(got.scores, want.scores)
    np.testing.assert_array_equal(got.labels, want.labels)
    assert [(m.left, m.top, m.pixels.tolist()) for m in got.masks] == [
        (m.left, m.top, m.pixels.tolist()) for m in want.masks
    ]


def test_a_data_set_file_answers_by_token_and_camera(tmp_path: Path) -> None:
    mask_model = MasksFile(written(tmp_path, document()))
    front, back = mask_model.find("s", [camera("CAM_FRONT"), camera("CAM_BACK")])
    assert [NUSCENES_CLASSES[k] for k in front.labels] == ["pedestrian", "car"]
    np.testing.assert_array_equal(front.scores, np.array([0.5, 1.0], np.float32))
    np.testing.assert_array_equal(front.boxes, [[10, 5, 18, 11], [1, 11, 13, 20]])
    np.testing.assert_array_equal(whole(front, 0), square())
    np.testing.assert_array_equal(whole(front, 1), square(12, 2))
    assert (len(back), back.width, back.height) == (0, WIDTH, HEIGHT)
    assert mask_model.ignored == {"sofa": 1}
    assert "masks.json@" in mask_model.name


def test_polygons_and_category_names(tmp_path: Path) -> None:
    polygon = [10.0, 5.0, 18.0, 5.0, 18.0, 11.0, 10.0, 11.0]
    annotation = {"image_id": 7, "category_name": "bus", "segmentation": [polygon], "score": 0.2}
    content = document(annotations=[annotation])
    (front,) = MasksFile(written(tmp_path, content)).find("s", [camera("CAM_FRONT")])
    np.testing.assert_array_equal(whole(front, 0)[5:11, 10:18], np.ones((6, 8), np.bool_))
    assert front.masks[0].num_pixels == 48


def test_a_results_list_takes_its_pictures_from_the_data_set(tmp_path: Path) -> None:
    data_set = written(tmp_path, document(annotations=[]), "images.json")
    results = written(tmp_path, document()["annotations"], "results.json")
    want = MasksFile(written(tmp_path, document())).find("s", [camera("CAM_FRONT")])[0]
    assert_equal(MasksFile(results, images=data_set).find("s", [camera("CAM_FRONT")])[0], want)
    with pytest.raises(DatasetError, match="give the COCO data set"):
        MasksFile(results)


def test_pictures_are_found_by_the_end_of_their_path(tmp_path: Path) -> None:
    content = document()
    for image in content["images"]:
        del image["sample_token"], image["camera"]
    mask_model = MasksFile(written(tmp_path, content))
    for name, number in (("CAM_FRONT", 2), ("CAM_BACK", 0)):
        path = tmp_path / "samples" / name / "a.jpg"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
        assert len(mask_model.find("whatever", [camera("X", ImageFile(path))])[0]) == number
    with pytest.raises(DatasetError, match="no image of sample"):
        mask_model.find("s", [camera("X", ImageFile(tmp_path / "a.jpg"))])
    with pytest.raises(DatasetError, match="no image of sample"):
        mask_model.find("s", [camera("CAM_FRONT")])
    content["images"][1]["file_name"] = "a.jpg"
    with pytest.raises(DatasetError, match="2 images"):
        MasksFile(written(tmp_path, content)).find("s", [camera("X", ImageFile(tmp_path / "CAM_FRONT" / "a.jpg"))])


def test_another_vocabulary(tmp_path: Path) -> None:
    mask_model = MasksFile(written(tmp_path, document()), vocabulary=Vocabulary({"seat": ("sofa", "chair")}))
    (front,) = mask_model.find("s", [camera("CAM_FRONT")])
    assert (front.class_names, len(front)) == (("seat",), 1)
    assert mask_model.ignored == {"Person": 1, "car": 1}
    with pytest.raises(DatasetError, match="none of its categories"):
        MasksFile(written(tmp_path, document()), vocabulary=Vocabulary({"boat": ("boat",)}))


@pytest.mark.parametrize(
    "content",
    [
        "",
        '"text"',
        "{}",
        {"images": [], "annotations": [{}]},
        {"images": [{"id": 1}], "annotations": [], "categories": []},
        {"images": [{"id": 1, "width": "wide", "height": 1}], "annotations": [], "categories": []},
        {"images": [{"id": 1, "width": float("inf"), "height": 1}], "annotations": [], "categories": []},
        {**document(), "annotations": [{"image_id": 7, "category_id": 99, "segmentation": {}}]},
        {**document(), "annotations": [{"image_id": 99, "category_id": 3, "segmentation": {}}]},
    ],
)
def test_files_of_another_form_say_so(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DatasetError, match="expected"):
        MasksFile(written(tmp_path, content))


@pytest.mark.parametrize(
    "segmentation",
    [
        {},
        "text",
        compressed(np.ones((3, 4), np.bool_)),
        {"size": [HEIGHT, WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": 5},
    ],
)
def test_broken_masks_name_the_file(tmp_path: Path, segmentation: Any) -> None:
    content = document(annotations=[{"image_id": 7, "category_id": 3, "segmentation": segmentation}])
    mask_model = MasksFile(written(tmp_path, content))
    with pytest.raises(DatasetError, match=r"masks.json: a broken mask of CAM_FRONT/a.jpg"):
        mask_model.find("s", [camera("CAM_FRONT")])


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": ["a", "b", "c", "d"]},
        {"bbox": [[1], [2], [3], [4]]},
        {"bbox": [10**400, 0, 1, 1]},
        {"bbox": [float("nan"), 0, 1, 1]},
        {"score": "high"},
        {"score": float("inf")},
    ],
)
def test_boxes_and_scores_that_are_no_numbers_name_the_file(tmp_path: Path, change: dict[str, Any]) -> None:
    annotation = {"image_id": 7, "category_id": 3, "segmentation": compressed(square()), **change}
    mask_model = MasksFile(written(tmp_path, document(annotations=[annotation])))
    with pytest.raises(DatasetError, match=r"masks.json: a broken mask of CAM_FRONT/a.jpg"):
        mask_model.find("s", [camera("CAM_FRONT")])


@pytest.mark.parametrize(
    ("width", "height", "segmentation", "received"),
    [
        (10**5, 10**5, {"size": [10**5, 10**5], "counts": [0, 10**10]}, "a picture of 100000 × 100000"),
        (2**31, 1, [[0, 0, 2**31, 0, 0, 1]], "a picture of 2147483648 × 1"),
        (0, 30, {"size": [30, 0], "counts": []}, "a picture of 0 × 30"),
        (64_000_000, 1, [[0, 0, 6e7, 0, 0, 1]], "an outline of 120000001 pixels"),
        (8000, 4000, [[0, 0, 8000, 0] * 100], "an outline of 1600000 pixels"),
    ],
)
def test_masks_that_would_fill_the_memory_are_not_decoded(
    tmp_path: Path, width: int, height: int, segmentation: Any, received: str
) -> None:
    content = document(annotations=[{"image_id": 7, "category_id": 3, "segmentation": segmentation}])
    content["images"][0] |= {"width": width, "height": height}
    mask_model = MasksFile(written(tmp_path, content))
    with pytest.raises(DatasetError, match=received):
        mask_model.find("s", [camera("CAM_FRONT")])


@pytest.mark.parametrize("described", ["null", "[]", "3", '"images"'])
def test_results_with_images_of_another_form_are_refused(tmp_path: Path, described: str) -> None:
    file = written(tmp_path, document()["annotations"])
    with pytest.raises(DatasetError, match="no COCO masks"):
        MasksFile(file, images=written(tmp_path, described, "images.json"))


def test_an_empty_mask_stays_an_empty_mask(tmp_path: Path) -> None:
    empty = compressed(np.zeros((HEIGHT, WIDTH), np.bool_))
    content = document(annotations=[{"image_id": 7, "category_id": 3, "segmentation": empty}])
    (front,) = MasksFile(written(tmp_path, content)).find("s", [camera("CAM_FRONT")])
    assert front.masks[0].num_pixels == 0


@pytest.fixture(scope="module")
def degraded_masks() -> DegradedMasks:
    return DegradedMasks(ToyTownDrive(7, duration_s=0.1), FaultRates(loose=1.0), seed=3)


def test_toytown_masks_are_those_of_its_stand_in(degraded_masks: DegradedMasks) -> None:
    sample = degraded_masks.drive[0]
    found = ToyTownMaskModel(degraded_masks).find(sample.token, sample.cameras)
    assert sum(map(len, found)) > 5
    for image, masks in zip(sample.cameras, found, strict=True):
        want = degraded_masks.masks(0, image.name)
        assert [whole(masks, i).tolist() for i in range(len(masks))] == [m.mask.tolist() for m in want]
        assert (masks.width, masks.height) == (image.width, image.height)
        np.testing.assert_array_equal(masks.boxes, np.array([m.box for m in want], np.float32).reshape(-1, 4))


def test_the_file_of_toytown_masks_says_the_same(degraded_masks: DegradedMasks, tmp_path: Path) -> None:
    path = tmp_path / "masks.json"
    write_masks(degraded_masks, path)
    from_file, live = MasksFile(path), ToyTownMaskModel(degraded_masks)
    for index in range(len(degraded_masks.drive)):
        sample = degraded_masks.drive[index]
        for got, want in zip(
            from_file.find(sample.token, sample.cameras), live.find(sample.token, sample.cameras), strict=True
        ):
            assert_equal(got, want)


@pytest.mark.parametrize("token", ["toytown-0007-0001", "toytown-0008-0000", "toytown-0007-0", "1700000000"])
def test_toytown_knows_only_its_own_drive(degraded_masks: DegradedMasks, token: str) -> None:
    with pytest.raises(DatasetError, match="toytown-0007"):
        ToyTownMaskModel(degraded_masks).find(token, [])
