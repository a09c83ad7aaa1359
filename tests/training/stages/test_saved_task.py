"""Settings as JSON, and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError
from lidarloop_training.recipes.pillar_drives import pillar_fine_tune
from lidarloop_training.stages.saved_task import as_json, from_json, task_type


@dataclasses.dataclass(frozen=True)
class Inner:
    shares: tuple[tuple[str, int], ...] = ()
    pair: tuple[float, float] = (0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Settings:
    number: int = 1
    rate: float = 0.5
    is_on: bool = True
    how: Literal["mean", "max"] = "mean"
    place: Path | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)


SETTINGS = Settings(3, 2.0, False, "max", Path("a/b"), Inner((("car", 2), ("bus", 1)), (1.0, -1.0)))


@pytest.mark.parametrize("settings", [Settings(), SETTINGS])
def test_settings_come_back_equal(settings: Settings) -> None:
    assert from_json(Settings, json.loads(json.dumps(as_json(settings)))) == settings


def test_the_settings_of_a_recipe_come_back_equal() -> None:
    task = pillar_fine_tune(Path("drives"), None).task
    stored = json.loads(json.dumps(as_json(task)))
    assert from_json(task_type("detection"), stored) == task


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"number": 1.5}, "Settings.number received 1.5; expected int"),
        ({"number": True}, "Settings.number received True; expected int"),
        ({"is_on": 1}, "Settings.is_on received 1; expected bool"),
        ({"how": "least"}, "Settings.how received 'least'"),
        ({"inner": {"shares": [["car", "two"]], "pair": [0, 1]}}, r"Settings.inner.shares\[0\]\[1\] received 'two'"),
        ({"inner": {"shares": [], "pair": [0, 1, 2]}}, r"Settings.inner.pair received \[0, 1, 2\]"),
        ({"colour": "red"}, "received fields colour too many or too few"),
    ],
)
def test_what_is_not_of_its_type_is_refused_by_name(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        from_json(Settings, {**as_json(SETTINGS), **change})


def test_an_unknown_task_names_those_there_are() -> None:
    with pytest.raises(
        ConfigError,
        match="received a task 'cooking'; expected one of detection, distillation, fusion, segmentation, ",
    ):
        task_type("cooking")
