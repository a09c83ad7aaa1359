"""`lidarloop pretrain`: the commands of the docs start on drives of the formats that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import tyro  # noqa: E402

from lidarloop_core.errors import ConfigError, DatasetError  # noqa: E402
from lidarloop_training.commands.pretrain import pretrain  # noqa: E402
from lidarloop_training.data.nuscenes.writer import write_nuscenes  # noqa: E402
from lidarloop_training.models.image.encoder import ImageEncoderConfig, open_encoder  # noqa: E402
from lidarloop_training.recipes.contrast_toytown import IMAGE_ENCODER_FILE  # noqa: E402
from lidarloop_training.stages.checkpoint import latest_checkpoint, saved_parts, saved_task  # noqa: E402
from tests.training.street import StreetSource  # noqa: E402

ONE_STEP = (
    "--optimisation.num-steps", "1", "--optimisation.batch-size", "1", "--optimisation.precision", "float32",
    "--run.num-workers", "0", "--run.num-threads", "1",
)  # fmt: skip
RANDOM = ("--task.image.kind", "random", "--task.image.levels", "2", "--task.image.max-width", "64")


def run(*arguments: object) -> None:
    tyro.cli(pretrain, args=[str(argument) for argument in arguments])


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nuScenes tables with pictures; the run writes beside them."""
    monkeypatch.chdir(tmp_path)
    return write_nuscenes(StreetSource(num_frames=3), tmp_path / "tables", keyframe_every=1)


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        ("contrast-drives", ("encoder", "backbone")),
        ("contrast-voxel-nuscenes", ("encoder", "backbone")),
        ("contrast-segment-drives", ("encoder", "decoder")),
    ],
)
def test_nuscenes_tables_are_learnt_from(
    recipe: str, parts: tuple[str, ...], tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(recipe, "--data.path", tables, *RANDOM, *ONE_STEP)
    folder = latest_checkpoint(Path("out") / recipe)
    assert folder is not None
    assert saved_parts(folder) == (*parts, "projection", "target_projection")
    text = capsys.readouterr().out
    assert "3 samples, units compared cross with images" in text
    assert f"--init-from {folder} --init-parts encoder {parts[1]}" in text
    assert len(list(Path("data/image-features").glob("*/*.safetensors"))) == 3


def test_a_waymo_segment_is_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    from tests.training.data.waymo import fixture

    monkeypatch.chdir(tmp_path)
    fixture.write_segment(tmp_path / "waymo", fixture.Options())
    run("contrast-drives", "--data.path", "waymo", "--data.source", "waymo", *RANDOM, *ONE_STEP)
    folder = latest_checkpoint(Path("out/contrast-drives"))
    assert folder is not None
    name, settings = saved_task(folder)
    assert (name, settings["modality"]) == ("contrast-detector", "cross")


def test_an_image_encoder_of_the_drives_is_a_file_for_the_next_command(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("image-encoder-drives", "--data.path", tables, "--task.width", "4", "--task.crops.size", "32", *ONE_STEP)
    path = Path("out/image-encoder-drives") / IMAGE_ENCODER_FILE
    assert open_encoder(ImageEncoderConfig(path=path)).num_channels == 4 * (4 + 8 + 16)
    assert f"--task.image.path {path}" in capsys.readouterr().out


def test_a_share_of_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected none: pre-training learns from all samples, without labels"):
        run("contrast-smoke", "--labels.percent", "5")


def test_what_is_missing_is_known_before_the_first_step(tables: Path) -> None:
    with pytest.raises(ConfigError, match=r"models/moco-v3-r50.pth.tar cannot be read as a checkpoint"):
        run("contrast-drives", "--data.path", tables, *ONE_STEP)
    with pytest.raises(DatasetError, match="has no pictures; expected some to learn from"):
        run("contrast-drives", "--data.path", tables, "--data.no-cameras", *RANDOM, *ONE_STEP)
