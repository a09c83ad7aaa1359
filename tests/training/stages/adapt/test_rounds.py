from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rich.console import Console  # noqa: E402

from lidarloop_core.errors import ConfigError, DatasetError  # noqa: E402
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels  # noqa: E402
from lidarloop_core.sample import Sample  # noqa: E402
from lidarloop_training.data.drive_spec import KittiTracking  # noqa: E402
from lidarloop_training.data.toytown.training_drives import ToyTownDrives  # noqa: E402
from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.data.views.doubtful import DoubtConfig  # noqa: E402
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame, write_drive  # noqa: E402
from lidarloop_training.stages.adapt.rounds import (  # noqa: E402
    AdaptConfig,
    believed,
    finish_round,
    keep_plan,
    open_real,
    train_round,
)
from lidarloop_training.stages.self_train import relabel  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from tests.training.conftest import BoxScenes  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_core.sample import SampleSource
    from lidarloop_training.stages.config import TrainConfig
    from lidarloop_training.tasks.detection.task import DetectionConfig

SILENT = Console(file=io.StringIO())
TOWN, REAL = BoxScenes(num_samples=6), BoxScenes(num_samples=3, seed=5)


@pytest.fixture
def config(train_config: TrainConfig[DetectionConfig], tmp_path: Path) -> AdaptConfig:
    """Rounds of one step on the weights of a source."""
    train = dataclasses.replace(
        train_config,
        optimisation=dataclasses.replace(train_config.optimisation, num_steps=1, batch_size=2),
        data=ToyTownDrives(),
        run=dataclasses.replace(train_config.run, out=tmp_path / "adapted"),
        init_from=tmp_path / "source",
    )
    return AdaptConfig(train, num_norm_batches=1, min_score=(0.0,), doubts=DoubtConfig(ignore_unseen=False))


def label(source: SampleSource, folder: Path) -> Path:
    """The truth as pseudo-labels; every second one is doubtful."""
    frames = [LabelledFrame.of(i, source[i], half_doubtful(source[i]), LeftOut()) for i in range(len(source))]
    write_drive(folder, frames, {})
    return folder


def half_doubtful(sample: Sample) -> PseudoLabels:
    assert sample.annotations is not None
    boxes, number = sample.annotations.boxes, len(sample.annotations.boxes)
    quality = np.where(np.arange(number) % 2 == 0, 0.8, 0.2)
    return PseudoLabels(boxes, quality, np.full(number, 60), ((),) * number, ("none",) * number)


def began_with(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text())["init_sha256"])


def test_each_round_starts_from_the_source_and_learns_from_the_labels_of_the_one_before(
    config: AdaptConfig, tmp_path: Path
) -> None:
    run = dataclasses.replace(config.train.run, out=tmp_path / "source")
    source = fit(dataclasses.replace(config.train, run=run, init_from=None), TOWN, ConcatSource([]))
    wanted = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    labels = label(REAL, tmp_path / "labels")
    judged: list[int] = []

    def judge(frames: Any, clouds: SampleSource) -> list[LabelledFrame]:
        assert clouds is REAL
        judged.append(len(frames))
        return list(frames)

    for number in (1, 2):
        trained = train_round(config, number, TOWN, believed(REAL, labels, config.doubts, SILENT), SILENT)
        assert began_with(trained) == wanted
        real = believed(REAL, labels, config.doubts, SILENT)
        adapted = finish_round(config, number, trained, real, SILENT)
        assert adapted.is_relative_to(config.round_folder(number))
        labels = config.out / f"round-{number + 1}" / "labels"
        relabel(adapted, REAL, labels, (0.0,), SILENT, judge)
        relabel(adapted, REAL, labels, (0.0,), SILENT, judge)
    assert judged == [3, 3]  # what is labelled by these weights is not labelled again


def test_what_is_believed_is_counted_in_words(tmp_path: Path) -> None:
    text = io.StringIO()
    believed(REAL, label(REAL, tmp_path / "labels"), DoubtConfig(), Console(file=text, width=200))
    assert text.getvalue() == "6 labels in 3 samples are believed; 6 are doubted and teach nothing, 0 are left out\n"


def test_other_settings_in_the_same_folder_are_refused_and_more_rounds_are_not(config: AdaptConfig) -> None:
    drives = [KittiTracking(Path("kitti"), "0003")]
    keep_plan(config, drives, "made here")
    keep_plan(dataclasses.replace(config, num_rounds=3), drives, "made here")
    with pytest.raises(ConfigError, match=r"another settings, min_score; expected the same to go on"):
        keep_plan(dataclasses.replace(config, min_score=(0.3,)), drives, "made here")
    with pytest.raises(ConfigError, match="another drives"):
        keep_plan(config, [KittiTracking(Path("kitti"), "0001")], "made here")


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a")])
def test_two_drives_of_one_name_are_refused(names: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Their labels would lie in one folder."""

    @dataclasses.dataclass(frozen=True)
    class Named(BoxScenes):
        name: str = ""

        def __getitem__(self, index: int) -> Sample:
            return dataclasses.replace(super().__getitem__(index), scene=self.name)

    monkeypatch.setattr(KittiTracking, "open", lambda drive, **_: Named(num_samples=2, name=str(drive.path)))
    drives = [KittiTracking(Path(name)) for name in names]
    if names == ("a", "b"):
        assert len(open_real(drives, 1, cameras=False)) == 4
        return
    with pytest.raises(DatasetError, match="more than one drive of the name a; expected names of their own"):
        open_real(drives, 1, cameras=False)


def test_a_share_of_which_a_batch_has_no_sample_is_refused(config: AdaptConfig) -> None:
    with pytest.raises(ConfigError, match="expected at least one of each"):
        dataclasses.replace(config, real_share=0.1)
