"""The XML profile of Fast DDS: the environment variables that name it, and the size of the messages it lets through."""

from __future__ import annotations

import os
import re
from pathlib import Path

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""The first is read on Humble and Jazzy, the second on Kilted and later."""


def profile_variable(distro: str) -> str:
    """The variable that a ROS 2 distribution reads."""
    up_to_jazzy, later = PROFILE_VARIABLES
    return up_to_jazzy if distro in ("humble", "jazzy") else later


def profile_in_use() -> Path | None:
    """The profile that this process's environment names; None where it names none that is a file."""
    paths = [Path(os.environ[name]) for name in PROFILE_VARIABLES if os.environ.get(name)]
    return next((path for path in paths if path.is_file()), None)


def segment_bytes(profile: Path) -> int:
    """Size of a profile's shared memory segment, bytes; a larger message is lost. 0 where it sets none."""
    found = re.search(r"<segment_size>\s*(\d+)\s*</segment_size>", profile.read_text(errors="replace"))
    return int(found.group(1)) if found else 0
