"""Distillation as a stage: it resumes, leaves the teacher out of its checkpoints, and gives an ordinary detector."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from lidarloop_core.errors import CloudFormatError, ConfigError  # noqa: E402
from lidarloop_core.io.results import write_results  # noqa: E402
from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.data.views.pseudo_labelled import PseudoLabelledSource  # noqa: E402
from lidarloop_training.stages.checkpoint import load_task, load_weights  # noqa: E402
from lidarloop_training.stages.distill import distill, load_teacher  # noqa: E402
from lidarloop_training.stages.infer import SampleDetector, TorchBackend  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from lidarloop_training.tasks.distillation.task import DistillationTask  # noqa: E402
from tests.training.conftest import BoxScenes  # noqa: E402
from tests.training.painted import SPECS, PaintedScenes, run_of, student_config, teacher_config  # noqa: E402

NOTHING = ConcatSource([])
SCENES = PaintedScenes(BoxScenes(num_samples=4))


@pytest.fixture(scope="module", params=list(SPECS))
def grid(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def teacher_run(grid: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher")
    return fit(run_of(teacher_config(SPECS[grid]), out, num_steps=2), SCENES, NOTHING)


def test_resuming_gives_the_bits_of_an_uninterrupted_run(grid: str, teacher_run: Path, tmp_path: Path) -> None:
    teacher = load_teacher(teacher_run)
    whole = distill(run_of(student_config(SPECS[grid]), tmp_path / "whole"), teacher, SCENES, SCENES)
    parts = run_of(student_config(SPECS[grid]), tmp_path / "parts")
    halfway = distill(parts, teacher, SCENES, SCENES, stop_after=3)
    assert halfway.name == "step-00000003"
    torch.manual_seed(99)  # a new process has other global random state
    resumed = distill(parts, load_teacher(teacher_run), SCENES, SCENES)
    for name in ("model.safetensors", "optimizer.safetensors"):
        expected, found = load_file(whole / name), load_file(resumed / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_checkpoint_is_the_student_s_and_needs_no_teacher(grid: str, teacher_run: Path, tmp_path: Path) -> None:
    folder = distill(run_of(student_config(SPECS[grid]), tmp_path), load_teacher(teacher_run), SCENES, NOTHING)
    assert {name.split(".")[0] for name in load_weights(folder)} == {"encoder", "backbone", "head", "adapters"}
    task, network, _ = load_task(folder)
    assert isinstance(task, DistillationTask)
    boxes = SampleDetector(TorchBackend(task.export_view(network)), score_threshold=0.0)(BoxScenes()[0])
    assert len(boxes) > 0


def test_another_teacher_does_not_go_on_with_a_run(grid: str, teacher_run: Path, tmp_path: Path) -> None:
    config = run_of(student_config(SPECS[grid]), tmp_path / "run")
    distill(config, load_teacher(teacher_run), SCENES, NOTHING, stop_after=2)
    other = dataclasses.replace(run_of(teacher_config(SPECS[grid]), tmp_path / "other", num_steps=1), seed=1)
    with pytest.raises(ConfigError, match="was made with another task"):
        distill(config, load_teacher(fit(other, SCENES, NOTHING)), SCENES, NOTHING)


def test_a_student_starts_from_the_parts_of_a_detector(grid: str, teacher_run: Path, tmp_path: Path) -> None:
    student = student_config(SPECS[grid])
    start = fit(
        run_of(dataclasses.replace(teacher_config(SPECS[grid]), spec=student.spec), tmp_path / "start"), SCENES, NOTHING
    )
    run = run_of(student, tmp_path / "run", num_steps=1)
    run = dataclasses.replace(run, init_from=start, init_parts=("encoder", "backbone", "head"))
    assert distill(run, load_teacher(teacher_run), SCENES, NOTHING).name == "step-00000001"


def test_pseudo_labels_serve_as_ground_truth(grid: str, teacher_run: Path, tmp_path: Path) -> None:
    """Without any annotation: what is mined, and the boxes of points, are those of the files."""
    unlabelled = PaintedScenes(BoxScenes(num_samples=4))
    found = {
        sample.token: sample.annotations.boxes for sample in map(unlabelled.__getitem__, range(4)) if sample.annotations
    }
    write_results(tmp_path / "labels.json", found, {"frame": "lidar"})
    labelled = PseudoLabelledSource(unlabelled, tmp_path / "labels.json")
    folder = distill(
        run_of(student_config(SPECS[grid]), tmp_path / "run"), load_teacher(teacher_run), labelled, NOTHING
    )
    assert folder.name == "step-00000004"


def test_points_without_paint_are_refused_by_the_column(grid: str, teacher_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CloudFormatError, match="sweep lacks column seen"):
        distill(run_of(student_config(SPECS[grid]), tmp_path), load_teacher(teacher_run), BoxScenes(), NOTHING)


def test_a_student_is_no_teacher(grid: str, teacher_run: Path, tmp_path: Path) -> None:
    folder = distill(
        run_of(student_config(SPECS[grid]), tmp_path), load_teacher(teacher_run), SCENES, NOTHING, stop_after=1
    )
    with pytest.raises(ConfigError, match="which is no detector's"):
        load_teacher(folder)
