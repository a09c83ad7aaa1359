"""What things are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.mask_models.vocabulary import Vocabulary


def test_every_phrase_has_the_label_of_its_class() -> None:
    vocabulary = Vocabulary.nuscenes()
    assert vocabulary.class_names == NUSCENES_CLASSES
    assert len(vocabulary.flat) == len(vocabulary.labels)
    for phrase, label in zip(vocabulary.flat, vocabulary.labels, strict=True):
        assert phrase in vocabulary.phrases[NUSCENES_CLASSES[label]]


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("Traffic-Cone", "traffic_cone"),
        ("person", "pedestrian"),
        ("construction_vehicle", "construction_vehicle"),
        ("VAN", "car"),
        ("sofa", None),
    ],
)
def test_names_are_found_however_they_are_spelt(name: str, means: str | None) -> None:
    label = Vocabulary.nuscenes().label_of(name)
    assert (None if label is None else NUSCENES_CLASSES[label]) == means


def test_a_class_without_usual_phrases_is_asked_for_by_name() -> None:
    assert Vocabulary.of(("wheelie_bin", "car")).phrases == {
        "wheelie_bin": ("wheelie bin",),
        "car": ("car", "van", "suv"),
    }


def test_a_file_overrides(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps({"traffic_cone": ["pylon", "traffic cone"], "car": ["car"]}))
    vocabulary = Vocabulary.read(path)
    assert vocabulary.flat == ("pylon", "traffic cone", "car")
    assert vocabulary.labels == (0, 0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"car": "car"}',
        '{"car": [1]}',
        '{"car": []}',
        '{"car": ["car"], "truck": ["car"]}',
        '{"car": ["Car"]}',
        '{"car": ["a. b"]}',
        '{"car": null}',
    ],
)
def test_broken_vocabularies_say_what_was_expected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected"):
        Vocabulary.read(path)
