"""Recipes on the command line: every option of a configuration can be given; what is not given is the recipe's."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_type_hints

C = TypeVar("C")


def overrides_of(config: type[Any], *, without: tuple[str, ...] = ()) -> type[Any]:
    """A dataclass of the fields of ``config`` that are all None, for tyro to read the options from.

    Args:
        config: a dataclass.
        without: fields that are no options.
    """
    hints = get_type_hints(config)
    fields = [
        (field.name, hints[field.name] | None, dataclasses.field(default=None))
        for field in dataclasses.fields(config)
        if field.name not in without
    ]
    made = dataclasses.make_dataclass(f"{config.__name__}Overrides", fields, frozen=True)
    made.__doc__ = config.__doc__  # where tyro finds the help of each option
    return made


def overridden(config: C, overrides: Any) -> C:
    """The configuration with those fields replaced that were given."""
    given = {name: value for name, value in vars(overrides).items() if value is not None}
    changed: C = dataclasses.replace(config, **given)  # type: ignore[type-var]
    return changed
