"""Masks are found once for a picture and a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.sample import CameraImage, SampleSource
from lidarloop_training.data.drive_spec import ToyTown
from lidarloop_training.pseudolabel.camera_only import DepthModel
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.mask_cache import CachedMaskModel
from lidarloop_training.pseudolabel.mask_model_choice import OnnxMaskModelSpec, ToyTownMaskModelSpec


class Slow:
    """A model whose masks depend on the picture, and which counts what it is asked."""

    name = "slow@1"
    class_names = ("car", "bus")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        self.asked += [image.name for image in images]
        return [_masks(int(image.load()[0, 0, 0])) for image in images]


def _masks(seed: int) -> InstanceMasks:
    rng = np.random.default_rng(seed)
    windows = tuple(MaskWindow(3 * k, k, rng.random((5 + k, 7)) > 0.5) for k in range(seed))
    boxes = rng.uniform(0, 60, (seed, 4))
    return InstanceMasks(boxes, rng.random(seed), rng.integers(0, 2, seed), windows, ("car", "bus"), 64, 48)


def picture(name: str, value: int) -> CameraImage:
    pixels = np.full((48, 64, 3), value, np.uint8)
    return CameraImage(name, lambda: pixels, np.eye(3), 64, 48, 0, SE3.identity(), None)


def assert_same(found: InstanceMasks, expected: InstanceMasks) -> None:
    for field in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    for a, b in zip(found.masks, expected.masks, strict=True):
        assert (a.left, a.top) == (b.left, b.top)
        np.testing.assert_array_equal(a.pixels, b.pixels)
    assert (found.class_names, found.width, found.height) == (expected.class_names, expected.width, expected.height)


def test_a_second_run_asks_for_new_pictures_alone_and_gets_the_same(tmp_path: Path) -> None:
    spec, model = OnnxMaskModelSpec(), Slow()
    CachedMaskModel(model, spec, tmp_path).find("a", [picture("A", 3), picture("B", 0)])
    again = CachedMaskModel(model, spec, tmp_path).find("b", [picture("B", 0), picture("C", 5), picture("A", 3)])
    assert model.asked == ["A", "B", "C"]
    for found, seed in zip(again, (0, 5, 3), strict=True):
        assert_same(found, _masks(seed))


def test_another_model_or_option_or_file_content_asks_again(tmp_path: Path) -> None:
    network = tmp_path / "net.onnx"
    network.write_bytes(b"one")
    spec, model = OnnxMaskModelSpec(detector=network), Slow()
    CachedMaskModel(model, spec, tmp_path).find("a", [picture("A", 3)])
    network.write_bytes(b"two")
    CachedMaskModel(model, spec, tmp_path).find("a", [picture("A", 3)])
    model.name = "slow@2"
    CachedMaskModel(model, spec, tmp_path).find("a", [picture("A", 3)])
    CachedMaskModel(model, dataclasses.replace(spec, providers=("Other",)), tmp_path).find("a", [picture("A", 3)])
    assert len(model.asked) == 4


def test_a_damaged_file_is_made_again_and_no_folder_is_a_warning(tmp_path: Path) -> None:
    spec, model = OnnxMaskModelSpec(), Slow()
    CachedMaskModel(model, spec, tmp_path).find("a", [picture("A", 3)])
    (file,) = tmp_path.glob("*/*.npz")
    file.write_bytes(file.read_bytes()[:50])
    (found,) = CachedMaskModel(model, spec, tmp_path).find("a", [picture("A", 3)])
    assert_same(found, _masks(3))
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    with pytest.warns(UserWarning, match="not kept"):
        CachedMaskModel(model, spec, in_the_way).find("a", [picture("A", 3)])


def test_the_cache_is_no_part_of_what_a_run_is(tmp_path: Path) -> None:
    job = LabelJob(ToyTown(3000), ToyTownMaskModelSpec())
    assert dataclasses.replace(job, mask_cache=tmp_path).config() == job.config()


def test_only_masks_that_depend_on_the_picture_alone_are_kept(tmp_path: Path) -> None:
    from lidarloop_training.pseudolabel.variants import open_lifter

    @dataclasses.dataclass(frozen=True)
    class Spec:
        sees_pictures_alone: bool

        def open(self, drive: SampleSource) -> Slow:
            return Slow()

        def open_depth(self, drive: SampleSource) -> DepthModel:
            raise NotImplementedError

    source = ToyTown(3000, duration_s=0.1).open(cameras=False)
    for kept in (False, True):
        job = LabelJob(ToyTown(3000), Spec(kept), mask_cache=tmp_path)  # type: ignore[arg-type]
        lifter = open_lifter(job, source)
        assert isinstance(lifter._mask_model, CachedMaskModel) == kept  # type: ignore[attr-defined]
