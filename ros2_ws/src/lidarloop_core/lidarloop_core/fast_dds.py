"""The XML profile of Fast DDS: the environment variables that name it, and the size of the messages it lets through."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lidarloop_core.io import regular_file

_MOST_BYTES = 1 << 20

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""The first is read on Humble and Jazzy, the second on Kilted and later, which warn of the first."""


def profile_variables(distro: str | None) -> tuple[str, ...]:
    """The variables to set for a ROS 2 distribution, first the one that it reads; all of them for an unknown one."""
    return PROFILE_VARIABLES if distro in (None, "humble", "jazzy") else PROFILE_VARIABLES[1:]


def profile_in_use() -> Path | None:
    """The profile that this process's environment names; None where it names none that is a file."""
    paths = [Path(os.environ[name]) for name in PROFILE_VARIABLES if os.environ.get(name)]
    return next((path for path in paths if path.is_file()), None)


def read_profile(profile: Path) -> str:
    """The text of a profile; empty if it is none that can be read."""
    try:
        return regular_file.read_text(profile, _MOST_BYTES)
    except OSError:
        return ""


def segment_bytes(profile: Path) -> int:
    """Size of a profile's shared memory segment, bytes; a larger message is lost. 0 where it sets none."""
    found = re.search(r"<segment_size>\s*(\d+)\s*</segment_size>", read_profile(profile))
    return int(found.group(1)) if found else 0
