"""Arms of the study: one network each, pre-trained as it is fine-tuned."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from benchmarks.contrastive.arms import ARMS, SCRATCH, SUPERVISED, Arm, Images, downstream, pretext  # noqa: E402
from benchmarks.contrastive.study import Study, marks_of  # noqa: E402
from lidarloop_training.models.image.encoder import write_encoder  # noqa: E402
from lidarloop_training.models.image.resnet import ResNet  # noqa: E402

LEARNING = [arm for arm in ARMS if arm.name not in (SCRATCH, SUPERVISED)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("images")
    write_encoder(ResNet((1, 1, 1), 4), folder / "encoder.safetensors")
    return Images(folder / "encoder.safetensors", None, (), folder)


@pytest.mark.parametrize("arm", LEARNING, ids=lambda arm: arm.folder)
def test_an_arm_gives_the_parts_that_fine_tuning_starts_from(arm: Arm, images: Images) -> None:
    pretrained, tuned = pretext(arm, images).task().build(), downstream(arm.network).task().build()
    for part in arm.parts:
        ours, theirs = (
            {name: value.shape for name, value in network.get_submodule(part).state_dict().items()}
            for network in (pretrained, tuned)
        )
        assert ours == theirs


def test_each_arm_learns_something_else(images: Images) -> None:
    settings = [(arm.network, arm.style, pretext(arm, images)) for arm in LEARNING]
    assert len(set(map(str, settings))) == len(settings)


def test_scores_are_taken_at_the_marks_and_after_a_longer_first_epoch() -> None:
    study = Study()
    assert marks_of(study, 600, 2) == [60, 150, 300, 600]
    assert marks_of(study, 600, 40) == [40, 60, 150, 300, 600]
    assert marks_of(study, 600, 700) == [60, 150, 300, 600]


def test_the_encoder_without_samples_is_an_arm_that_needs_them(images: Images) -> None:
    from lidarloop_core.errors import ConfigError

    with pytest.raises(ConfigError, match="received no file"):
        pretext(Arm(SUPERVISED), images).task().build()


def test_files_of_the_study_lie_in_its_folder() -> None:
    study = Study(folder=Path("elsewhere"))
    assert study.images.own == Path("elsewhere/image-encoder/encoder.safetensors")
