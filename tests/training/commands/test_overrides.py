from __future__ import annotations

import dataclasses

from lidarloop_core.labelling.lifting_config import LiftingConfig, full_lifting
from lidarloop_training.commands.overrides import overridden, overrides_of


def test_nothing_given_changes_nothing() -> None:
    assert overridden(full_lifting(), overrides_of(LiftingConfig)()) == full_lifting()


def test_what_is_given_is_changed_and_nothing_else() -> None:
    given = overrides_of(LiftingConfig)(num_sweeps=7, drop_smear=False)

    changed = overridden(full_lifting(), given)

    assert changed == dataclasses.replace(full_lifting(), num_sweeps=7, drop_smear=False)


def test_every_field_is_an_option_but_those_left_out() -> None:
    names = [f.name for f in dataclasses.fields(overrides_of(LiftingConfig, without=("yaw",)))]

    assert names == [f.name for f in dataclasses.fields(LiftingConfig) if f.name != "yaw"]
