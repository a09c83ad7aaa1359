"""A picture that is too large or broken costs its camera, not the labelling run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import EncodedImage, ImageFile, encode_jpeg
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.sample import CameraImage, Sample, Sweep
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.labeller import Labeller
from tests.training.sources import MemorySource

FINE = encode_jpeg(np.zeros((30, 40, 3), np.uint8))
CUT = EncodedImage(FINE.data[: len(FINE.data) // 2], "jpeg")


class LooksAtAll:
    """A lifter that decodes every picture it is given, as a 2D model does, and finds nothing."""

    name, class_names = "looks", ("car",)

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, sample: Sample, lanes: LaneLookup | None) -> tuple[PseudoLabels, LeftOut]:
        for image in sample.cameras:
            image.load()
        self.seen = [image.name for image in sample.cameras]
        nothing = np.zeros(0, np.float32)
        return PseudoLabels(Boxes3D.empty(("car",)), nothing, nothing.astype(np.int64), (), ()), LeftOut()


def image(name: str, load: EncodedImage | ImageFile, width: int = 40, height: int = 30) -> CameraImage:
    return CameraImage(name, load, np.diag([30.0, 30.0, 1.0]), width, height, 0, SE3.identity(), None)


def labelled(job: LabelJob, *images: CameraImage) -> tuple[list[str], LeftOut]:
    """Names of the cameras that were looked at, and what was left out."""
    sweep = Sweep(np.zeros((5, 4), np.float32), ("x", "y", "z", "intensity"), 0, SE3.identity(), None)
    labeller, lifter = Labeller(job), LooksAtAll()
    vars(labeller).update(_drive=MemorySource([Sample("a", "drive", 0, (sweep,), images)]), _lifter=lifter)
    frame = labeller.frame(0)
    return lifter.seen, frame.left_out


def test_a_broken_picture_leaves_its_camera_out(job: LabelJob, tmp_path: Path) -> None:
    missing = ImageFile(tmp_path / "missing.jpg")
    seen, left_out = labelled(job, image("FRONT", FINE), image("LEFT", CUT), image("BACK", missing))
    assert seen == ["FRONT"]
    assert left_out.cameras == {"no readable picture": 2}


def test_a_picture_above_the_limit_leaves_its_camera_out_without_being_decoded(job: LabelJob) -> None:
    large = image("BACK", CUT, 13_000, 13_000)
    seen, left_out = labelled(job, image("FRONT", FINE), large)
    assert seen == ["FRONT"]
    assert left_out.cameras == {"above --max-picture-mpx 64": 1}
    seen, left_out = labelled(dataclasses.replace(job, max_picture_mpx=0.01), image("FRONT", FINE, 101, 100))
    assert (seen, left_out.cameras) == ([], {"above --max-picture-mpx 0.01": 1})


def test_an_error_that_no_picture_has_ends_the_run(job: LabelJob) -> None:
    class Broken(LooksAtAll):
        def __call__(self, sample: Sample, lanes: LaneLookup | None) -> tuple[PseudoLabels, LeftOut]:
            raise DatasetError("the masks are broken")

    labeller = Labeller(job)
    sweep = Sweep(np.zeros((5, 4), np.float32), ("x", "y", "z", "intensity"), 0, SE3.identity(), None)
    sample = Sample("a", "drive", 0, (sweep,), (image("FRONT", FINE),))
    vars(labeller).update(_drive=MemorySource([sample]), _lifter=Broken())
    with pytest.raises(DatasetError, match="the masks are broken"):
        labeller.frame(0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), 1000.0])
def test_a_limit_out_of_range_is_refused(job: LabelJob, value: float) -> None:
    with pytest.raises(ConfigError, match="max_picture_mpx"):
        dataclasses.replace(job, max_picture_mpx=value)
