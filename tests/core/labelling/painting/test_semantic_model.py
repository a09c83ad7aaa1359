"""A segmenter as a score model: whose probabilities are a class's, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("PIL")

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.mask_models.onnx_classes import CITYSCAPES_CLASSES
from lidarloop_core.labelling.painting.semantic_model import STREET_CLASSES, SemanticModel


@dataclass(frozen=True)
class Network:
    name: str = "made.onnx@0123"


class Segmenter:
    """The left half of a picture is a rider, the right half a person with a probability of 0.7 and a car of 0.2."""

    class_names = CITYSCAPES_CLASSES
    network: Any = Network()

    def segment(self, picture: Any, window: Any) -> npt.NDArray[np.float32]:
        assert (window.width, window.height) == picture.size
        maps = np.zeros((len(CITYSCAPES_CLASSES), 2, 4), np.float32)
        maps[CITYSCAPES_CLASSES.index("rider"), :, :2] = 0.9
        maps[CITYSCAPES_CLASSES.index("person"), :, 2:] = 0.7
        maps[CITYSCAPES_CLASSES.index("car"), :, 2:] = 0.2
        return maps


def test_a_class_has_the_sum_of_the_probabilities_that_are_it() -> None:
    model = SemanticModel(Segmenter())
    assert model.class_names == tuple(STREET_CLASSES)
    assert model.name == "made.onnx@0123"
    found = model.score_picture(np.zeros((20, 40, 3), np.uint8))
    assert (found.width, found.height) == (40, 20)
    scores = found.at(np.array([[3.0, 4.0], [30.0, 19.0]], np.float32))
    person, car = model.class_names.index("pedestrian"), model.class_names.index("car")
    np.testing.assert_allclose(scores[:, person], [0.9, 0.7])
    np.testing.assert_allclose(scores[:, car], [0, 0.2])


def test_a_class_that_the_network_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="received tram; it has road"):
        SemanticModel(Segmenter(), {"train": ("tram",)})
