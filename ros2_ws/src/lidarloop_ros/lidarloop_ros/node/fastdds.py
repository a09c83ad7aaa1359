"""The Fast DDS profile without which clouds above about 0.5 MB are lost. The one copy of it is package data here."""

from __future__ import annotations

import re
from pathlib import Path

from lidarloop_core.fast_dds import profile_variables
from lidarloop_core.machine import ros_distro


def profile_path() -> Path:
    """The XML profile."""
    return Path(__file__).parents[1] / "config" / "fastdds.xml"


def environment(profile: Path | None = None) -> dict[str, str]:
    """Environment variables that make this ROS 2's Fast DDS load a profile, by default the shipped one."""
    return dict.fromkeys(profile_variables(ros_distro()), str(profile or profile_path()))


def profile_with_segment(num_bytes: int) -> str:
    """The shipped profile's text with a larger shared memory segment, for messages that its own does not hold."""
    return re.sub(r"(?<=<segment_size>)\d+(?=</segment_size>)", str(num_bytes), profile_path().read_text())
