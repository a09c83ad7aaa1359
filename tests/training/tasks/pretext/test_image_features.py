"""Maps of pictures are computed once, and found again by encoder and picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import DatasetError  # noqa: E402
from lidarloop_training.tasks.pretext.image_features import ImageFeatures  # noqa: E402
from tests.training.tasks.pretext.scenes import PictureScenes, tiny_encoder  # noqa: E402


class Counted:
    """An encoder that counts its pictures."""

    sha256 = "c0de" * 16
    num_channels = 1

    def __init__(self) -> None:
        self.pictures = 0

    def maps(self, picture: np.ndarray) -> list[np.ndarray]:
        self.pictures += 1
        return [picture[None, ::8, ::8, 0].astype(np.float32) * 1000, np.full((1, 2, 3), 1 / 3, np.float32)]


@pytest.fixture
def encoder() -> Counted:
    return Counted()


@pytest.fixture
def features(encoder: Counted, tmp_path: Path) -> ImageFeatures:
    features = ImageFeatures(tiny_encoder(tmp_path), tmp_path / "features")
    features.encoder = encoder
    return features


def test_a_second_reading_runs_no_network_and_gives_the_same(features: ImageFeatures, encoder: Counted) -> None:
    cameras = PictureScenes()[0].cameras
    first = features.maps(cameras)
    again = features.maps(PictureScenes()[0].cameras)
    assert encoder.pictures == 2
    assert [[m.shape for m in maps] for maps in first] == [[(1, 6, 8), (1, 2, 3)]] * 2
    for ours, theirs in zip(first, again, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
            assert b.dtype == np.float16


def test_values_beyond_float16_stay_finite_and_others_are_rounded(features: ImageFeatures) -> None:
    fine, coarse = features.maps(PictureScenes()[0].cameras)[0]
    picture = PictureScenes().picture(0, 0)[::8, ::8, 0].astype(np.float32) * 1000
    np.testing.assert_array_equal(fine[0], np.minimum(picture, 65504).astype(np.float16))
    assert (coarse == np.float16(1 / 3)).all()


def test_another_picture_has_its_own_maps(features: ImageFeatures) -> None:
    scenes = PictureScenes()
    assert features.path(scenes[0].cameras) != features.path(scenes[1].cameras)
    assert features.path(scenes[0].cameras) == features.path(PictureScenes(num_samples=2)[0].cameras)


def test_another_encoder_keeps_its_maps_elsewhere(tmp_path: Path) -> None:
    config = tiny_encoder(tmp_path)
    folders = {
        ImageFeatures(dataclasses.replace(config, levels=levels), tmp_path).folder for levels in ((2,), (3,), (2, 3))
    }
    assert len(folders) == 3


def test_a_damaged_file_is_made_anew(features: ImageFeatures, encoder: Counted) -> None:
    cameras = PictureScenes()[0].cameras
    expected = features.maps(cameras)
    features.path(cameras).write_bytes(b"no tensors")
    found = features.maps(cameras)
    np.testing.assert_array_equal(found[1][0], expected[1][0])
    assert encoder.pictures == 4
    features.maps(cameras)
    assert encoder.pictures == 4


def test_preparing_computes_what_is_missing_and_goes_on_where_it_stopped(
    features: ImageFeatures, encoder: Counted
) -> None:
    scenes, seen = PictureScenes(num_samples=3), []
    features.maps(scenes[1].cameras)
    features.prepare(scenes, lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert encoder.pictures == 6
    features.prepare(scenes, lambda done, of: None)
    assert encoder.pictures == 6


def test_a_source_without_pictures_is_refused(features: ImageFeatures) -> None:
    with pytest.raises(DatasetError, match="sample scene-0 has no pictures; expected some to learn from"):
        features.prepare(PictureScenes(has_cameras=False), lambda done, of: None)
