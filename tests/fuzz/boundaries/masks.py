"""Masks and vocabularies that another tool wrote, and the 2D networks' files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import encode_jpeg
from lidarloop_core.labelling.mask_models.masks_file import MasksFile
from lidarloop_core.labelling.mask_models.onnx_mask_model import open_onnx_mask_model
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary
from lidarloop_core.sample import CameraImage
from tests.fuzz import mutate, trees

MASKS: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30, "sample_token": "s", "camera": "CAM"}],
    "annotations": [
        {"image_id": 1, "category_id": 3, "score": 0.5, "segmentation": {"size": [30, 40], "counts": [5, 100, 1095]}},
        {"image_id": 1, "category_id": 3, "segmentation": {"size": [30, 40], "counts": "51Y1j0"}, "bbox": [1, 2, 3, 4]},
        {"image_id": 1, "category_name": "car", "segmentation": [[1.0, 1.0, 20.0, 1.0, 20.0, 20.0]]},
    ],
    "categories": [{"id": 3, "name": "pedestrian"}],
}
IMAGE = CameraImage(
    "CAM",
    encode_jpeg(np.zeros((30, 40, 3), np.uint8)),
    np.diag([40.0, 40.0, 1.0]),
    40,
    30,
    0,
    SE3.identity(),
    SE3.identity(),
)


def case(rng: Random, folder: Path) -> Callable[[], object]:
    path = folder / "in" / "file.json"
    kind = rng.choice(("masks", "masks", "masks", "results", "vocabulary", "network"))
    if kind == "vocabulary":
        path.write_bytes(mutate.json_bytes(rng, {"car": ["car", "van"], "pedestrian": ["person"]}))
        return lambda: Vocabulary.read(path)
    if kind == "network":
        path.write_bytes(mutate.data(rng, _network()))
        return lambda: open_onnx_mask_model(path, path)
    if kind == "results":
        path.write_bytes(mutate.json_bytes(rng, MASKS["annotations"]))
        images = folder / "in" / "images.json"
        images.write_bytes(mutate.json_bytes(rng, MASKS) if rng.random() < 0.3 else json.dumps(MASKS).encode())
        return lambda: MasksFile(path, images=images).find("s", [IMAGE])
    path.write_bytes(mutate.json_bytes(rng, MASKS))
    if rng.random() < 0.02:
        trees.replace_file(rng, path)
    return lambda: MasksFile(path).find("s", [IMAGE])


def _network() -> bytes:
    from tests.builders import make_spec
    from tests.fuzz.networks import mean_network

    return mean_network(make_spec())
