from collections.abc import Mapping
from typing import Any

import pytest
import tyro

from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_training.commands.overrides import overridden, overrides_of
from lidarloop_training.pseudolabel.ablations import Trial, candidates, fault_rates, trials
from lidarloop_training.pseudolabel.job import plain, recipe, sha256_of
from lidarloop_training.toytown.faults.rates import FaultRates

ROWS = (*trials(), *candidates())
Lifting, Refine = overrides_of(LiftingConfig), overrides_of(RefineConfig, without=("motion",))


def options(lifting: Any = Lifting(), refine: Any = Refine()) -> tuple[Any, Any]:
    return lifting, refine


def test_names_are_unique_and_bases_are_rows() -> None:
    names = [trial.name for trial in ROWS]

    assert len(set(names)) == len(names)
    assert {trial.base for trial in ROWS} <= set(names)


@pytest.mark.parametrize("trial", [t for t in ROWS if t.name != t.base], ids=lambda t: t.name)
def test_each_row_differs_from_its_base(trial: Trial) -> None:
    def key(of: Trial) -> str:
        return sha256_of({"steps": plain(of.steps()), "faults": of.fault_factor, "sensors": of.sensors})

    base = next(t for t in ROWS if t.name == trial.base)
    assert key(trial) != key(base)
    assert trial.because


@pytest.mark.parametrize("trial", ROWS, ids=lambda t: t.name)
def test_each_row_is_one_that_the_command_line_takes(trial: Trial) -> None:
    arguments = []
    for group, given in (("lifting", trial.lifting), ("refine", trial.refinement)):
        for name, value in (given if isinstance(given, Mapping) else {}).items():
            values = value if isinstance(value, tuple) else (value,)
            arguments += [f"--{group}.{name.replace('_', '-')}", *map(str, values)]

    lifting, refine = tyro.cli(options, args=arguments)

    steps, refinement = recipe(trial.base)
    assert overridden(steps, lifting) == trial.steps()[0]
    if isinstance(trial.refinement, Mapping) and refinement is not None:
        assert overridden(refinement, refine) == trial.steps()[1]


def test_no_two_rows_are_the_same() -> None:
    keys = [sha256_of({"s": plain(t.steps()), "f": t.fault_factor, "sensors": t.sensors}) for t in ROWS]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["paper", "full"])
def test_the_recipes_are_rows_as_they_are(name: str) -> None:
    (row,) = [t for t in ROWS if t.name == name]

    assert row.steps() == recipe(name)


def test_all_candidates_together_are_each_of_them() -> None:
    rows = {row.name: row for row in candidates()}
    every = rows["full, all candidates"].steps()
    for row in rows.values():
        if " but " not in row.name and row.lifting:
            assert all(getattr(every[0], name) == value for name, value in row.lifting.items())
        others = rows.get(f"full, all candidates but {row.name.removeprefix('full, ')}")
        assert (others is None) == ("all candidates" in row.name)
        assert others is None or others.steps() != every


def test_fault_rates_scale_and_stay_probabilities() -> None:
    assert fault_rates(1.0) == FaultRates()
    assert set(vars(fault_rates(0.0)).values()) == {0.0}
    assert all(rate <= 1.0 for rate in vars(fault_rates(100.0)).values())
