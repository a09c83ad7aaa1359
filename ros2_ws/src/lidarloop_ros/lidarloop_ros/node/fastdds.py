"""The Fast DDS profile without which clouds above about 0.5 MB are lost. The one copy of it is package data here."""

from __future__ import annotations

from pathlib import Path

from lidarloop_core.fast_dds import PROFILE_VARIABLES


def profile_path() -> Path:
    """The XML profile."""
    return Path(__file__).parents[1] / "config" / "fastdds.xml"


def environment() -> dict[str, str]:
    """Environment variables that make Fast DDS of any distribution load the profile."""
    return dict.fromkeys(PROFILE_VARIABLES, str(profile_path()))
