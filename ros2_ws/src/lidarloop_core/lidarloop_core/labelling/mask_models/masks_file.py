"""Masks from a COCO JSON file, as another tool wrote them: the way to use any vision model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import regular_file
from lidarloop_core.io.images import ImageFile
from lidarloop_core.io.outside import MOST_JSON_BYTES, parse_json
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.mask_models.coco_masks import mask_window
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary
from lidarloop_core.sample import CameraImage


@dataclass
class _Picture:
    file_name: str
    width: int
    height: int
    annotations: list[dict[str, Any]] = field(default_factory=list)


class MasksFile:
    """A ``MaskModel`` that reads its answers from a file.

    The file is a COCO data set (``images``, ``annotations``, ``categories``; annotations may have a ``score``), or a
    results list (``image_id``, ``category_id``, ``segmentation``, ``score``) with a second file for the images and
    categories. Masks are run lengths or polygons. An annotation may have a ``category_name`` instead of an id. An image
    is found by its ``sample_token`` and ``camera`` where it has them, else by its ``file_name``, which must be the end
    of the picture's path. A picture that the file does not list is an error, not an empty answer.

    Args:
        file: file with the masks.
        images: file with the images and categories of a results list.
        vocabulary: classes of the category names; masks of unknown names are ignored and counted.

    Attributes:
        ignored: category name → number of masks ignored.

    Raises:
        DatasetError: a file is missing or of another form, or no category name is known.
    """

    def __init__(self, file: Path, *, images: Path | None = None, vocabulary: Vocabulary | None = None) -> None:
        self._file = file
        document, sha256 = _read(file)
        self.name = f"masks {file.name}@{sha256[:12]}"
        self._vocabulary = vocabulary or Vocabulary.nuscenes()
        self.class_names = self._vocabulary.class_names
        self.ignored: Counter[str] = Counter()
        if isinstance(document, list):
            if images is None:
                raise DatasetError(
                    f"{file}: a results list does not describe the pictures of its image_ids; "
                    "give the COCO data set file with their images and categories, too"
                )
            described = _read(images)[0]
            document = {**described, "annotations": document} if isinstance(described, dict) else described
        try:
            num_kept = self._index(document)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise DatasetError(
                f"{file}: no COCO masks ({type(error).__name__}: {error}); expected images with id, file_name, width "
                "and height, annotations with image_id, category_id and segmentation, and categories with id and name"
            ) from None
        if self.ignored and not num_kept:
            raise DatasetError(
                f"{self._file}: none of its categories ({', '.join(sorted(self.ignored))}) is known; expected "
                f"{', '.join(self.class_names)} or one of their phrases: give a vocabulary that names them"
            )

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        """See ``MaskModel``.

        Raises:
            DatasetError: a picture is not in the file, or a mask is broken.
        """
        return [self._masks(self._picture(sample_token, image)) for image in images]

    def _index(self, document: dict[str, Any]) -> int:
        """Sorts the annotations by their pictures; the number of those of a known category."""
        pictures = {}
        self._by_token: dict[tuple[str, str], _Picture] = {}
        self._by_name: dict[str, list[_Picture]] = {}
        for entry in document["images"]:
            picture = _Picture(entry.get("file_name", ""), int(entry["width"]), int(entry["height"]))
            pictures[entry["id"]] = picture
            if "sample_token" in entry and "camera" in entry:
                self._by_token[entry["sample_token"], entry["camera"]] = picture
            else:
                self._by_name.setdefault(Path(picture.file_name).name, []).append(picture)
        names = {entry["id"]: entry["name"] for entry in document.get("categories", [])}
        num_kept = 0
        for annotation in document["annotations"]:
            name = annotation["category_name"] if "category_name" in annotation else names[annotation["category_id"]]
            label = self._vocabulary.label_of(name)
            if label is None:
                self.ignored[name] += 1
                continue
            pictures[annotation["image_id"]].annotations.append({**annotation, "label": label})
            num_kept += 1
        return num_kept

    def _picture(self, sample_token: str, image: CameraImage) -> _Picture:
        picture = self._by_token.get((sample_token, image.name))
        if picture is not None:
            return picture
        path = image.load.path if isinstance(image.load, ImageFile) else None
        if path is not None:
            ends = [p for p in self._by_name.get(path.name, []) if _ends_with(path, p.file_name)]
            if len(ends) == 1:
                return ends[0]
            if ends:
                raise DatasetError(
                    f"{self._file}: {len(ends)} images are called like {path}; expected one: give them longer "
                    "file_names, or sample_token and camera"
                )
        raise DatasetError(
            f"{self._file}: holds no image of sample {sample_token}, camera {image.name}"
            f"{'' if path is None else f', file {path}'}; expected every picture, also those in which nothing was found"
        )

    def _masks(self, picture: _Picture) -> InstanceMasks:
        try:
            return self._decoded(picture)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DatasetError(
                f"{self._file}: a broken mask of {picture.file_name} ({error}); expected COCO run lengths or polygons "
                "of the picture's own size: write the file again"
            ) from None

    def _decoded(self, picture: _Picture) -> InstanceMasks:
        masks = [mask_window(a["segmentation"], picture.width, picture.height) for a in picture.annotations]
        corners = []
        for annotation, mask in zip(picture.annotations, masks, strict=True):
            height, width = mask.pixels.shape
            left, top, wide, high = annotation.get("bbox", (mask.left, mask.top, width, height))
            corners.append((left, top, left + wide, top + high))
        boxes = np.array(corners, np.float32).reshape(-1, 4)
        scores = np.array([float(a.get("score", 1.0)) for a in picture.annotations], np.float32)
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError("a bbox or score that is no finite number")
        return InstanceMasks(
            boxes,
            scores,
            np.array([a["label"] for a in picture.annotations], np.int64),
            tuple(masks),
            self.class_names,
            picture.width,
            picture.height,
        )


def _read(path: Path) -> tuple[Any, str]:
    """The document and the hash of its file."""
    try:
        data = regular_file.read_bytes(path, MOST_JSON_BYTES)
        return parse_json(data), hashlib.sha256(data).hexdigest()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: no readable JSON ({error}); expected COCO masks") from None


def _ends_with(path: Path, file_name: str) -> bool:
    tail = Path(file_name).parts
    return path.parts[-len(tail) :] == tail
