"""Commands that read a drive: a sub-command for each kind, e.g. ``lidarloop view bag drive.mcap``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union

import tyro

from lidarloop_training.data.drive_spec import Drive

D = TypeVar("D", bound=Drive)
"""The kind of drive that a request is about."""


def one_of(requests: Mapping[type[Drive], Any]) -> Any:
    """The type of a command's only argument: a request about any of the kinds of drives.

    Args:
        requests: kind → dataclass of what can be asked of it. Its first field is the drive. Where a positional argument
            follows the drive's, it stands in a dataclass of its own: tyro puts a dataclass's own ones first.
    """
    return Union[  # noqa: UP007  # of as many as there are
        tuple(
            Annotated[request, tyro.conf.subcommand(kind.name, description=(kind.__doc__ or "").splitlines()[0])]
            for kind, request in requests.items()
        )
    ]
