"""Recipes as sub-commands: the one that is named, with every value that is given replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Union

import tyro

from lidarloop_training.stages.config import TrainConfig


def choice(recipes: Mapping[str, tuple[Any, str]]) -> Any:
    """The type from which tyro reads one of several recipes.

    Args:
        recipes: name on the command line → (configuration, one line of help).
    """
    kinds = (
        Annotated[_type(config), tyro.conf.subcommand(name, default=config, description=description)]
        for name, (config, description) in recipes.items()
    )
    return Union[tuple(kinds)]  # noqa: UP007  # the members are known at run time alone


def _type(config: Any) -> Any:
    """A configuration's type; a run's is that of its task, so that the task's own settings become options."""
    return TrainConfig[type(config.task)] if isinstance(config, TrainConfig) else type(config)  # type: ignore[misc]
