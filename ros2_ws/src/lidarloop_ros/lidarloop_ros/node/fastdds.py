"""The Fast DDS profile without which clouds above about 0.5 MB are lost. The one copy of it is package data here."""

from __future__ import annotations

from pathlib import Path


def profile_path() -> Path:
    """The XML profile."""
    return Path(__file__).parents[1] / "config" / "fastdds.xml"


def environment() -> dict[str, str]:
    """Variables that make Fast DDS load the profile: as Humble and Jazzy name them, and as it is since Kilted."""
    path = str(profile_path())
    return {"FASTRTPS_DEFAULT_PROFILES_FILE": path, "FASTDDS_DEFAULT_PROFILES_FILE": path}
