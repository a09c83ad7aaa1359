"""Teachers and students of the recipes fit one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from lidarloop_core.labelling.painting.paint import is_paint
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.recipes.distill import (
    distill_drives,
    distill_pillar_smoke,
    distill_pillar_toytown,
    distill_smoke,
    distill_toytown,
)
from lidarloop_training.recipes.painted import (
    painted_drives,
    painted_pillar_smoke,
    painted_pillar_toytown,
    painted_smoke,
    painted_toytown,
)
from lidarloop_training.stages.saved_task import as_json, from_json, task_type
from lidarloop_training.tasks.distillation.teacher import Teacher

PAIRS = [
    (painted_toytown(), distill_toytown()),
    (painted_pillar_toytown(), distill_pillar_toytown()),
    (painted_smoke(), distill_smoke()),
    (painted_pillar_smoke(), distill_pillar_smoke()),
    (painted_drives(Path("d"), Path("p")), distill_drives(Path("d"), Path("p"))),
]


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_a_student_fits_the_teacher_of_its_name(teacher: Any, student: Any) -> None:
    network = teacher.task.task().build()
    taught = student.task.with_teacher(Teacher(network, teacher.task, "0" * 64))
    assert taught.taught_by.point_columns == teacher.task.spec.point_columns
    assert not any(map(is_paint, student.task.spec.point_columns))


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_settings_come_back_equal(teacher: Any, student: Any) -> None:
    for run in (teacher, student):
        assert from_json(task_type(run.task.name), as_json(run.task)) == run.task


@pytest.mark.parametrize(("teacher", "student"), PAIRS[:4])
def test_both_learn_from_the_same_painted_drives(teacher: Any, student: Any) -> None:
    assert isinstance(teacher.data, ToyTownDrives)
    assert teacher.data == student.data
    assert teacher.data.painted
    assert teacher.run.out != student.run.out
