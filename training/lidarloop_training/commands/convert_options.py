"""Which options of ``lidarloop convert`` go with which source."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lidarloop_core.errors import ConfigError

# nuScenes tables need boxes and ego-motion; these lack one of them.
_WITHOUT_TABLES = ("kitti-raw", "kitti-object", "nuscenes-sweep", "semantic-kitti")

# What each of these options is for; with anything else it would be ignored without a word.
_ONLY_FOR = {
    "duration_s": ("toytown",),
    "rate_hz": ("toytown",),
    "masks": ("toytown",),
    "num_workers": ("toytown",),
    "scene": ("nuscenes", "nuscenes-lidarseg"),  # scenes of the other data sets have a folder or file each
    "points_topics": ("bag",),
    "odometry_topic": ("bag",),
    "salvage": ("bag",),
    "ego_motion": ("kitti-raw", "bag"),  # the others have poses, or frames that do not follow one another
    "of": ("results",),
    "min_score": ("results",),
}
_ONLY_FOR_TABLES = ("keyframe_every", "sweeps_per_keyframe")


def check_options(source: str, dst: Path, given: Collection[str]) -> None:
    """Refuses options, and a destination, that make no sense for the source.

    Args:
        source: of ``convert``.
        dst: of ``convert``; a name ending in .mcap is a bag, any other a folder of tables.
        given: names of the arguments of ``convert`` that differ from their defaults.

    Raises:
        ConfigError: an option would be ignored, or ``source`` cannot become tables.
    """
    for name, sources in _ONLY_FOR.items():
        if name in given and source not in sources:
            raise ConfigError(
                f"received {_flag(name)} with {source}; expected {' or '.join(sources)}, which is all that it is for: "
                "leave it out"
            )
    if source in ("results", "cvat"):
        if of_drives := [_flag(name) for name in ("cameras", *_ONLY_FOR_TABLES) if name in given]:
            raise ConfigError(
                f"received {', '.join(of_drives)} with {source}; expected a drive, which is all that it is for: "
                "leave it out"
            )
        return
    if "masks" in given and "cameras" in given:
        raise ConfigError("received --masks with --no-cameras; expected pictures to mask: leave one of the two out")
    if dst.suffix == ".mcap":
        if of_tables := [_flag(name) for name in _ONLY_FOR_TABLES if name in given]:
            raise ConfigError(
                f"received {', '.join(of_tables)} with {dst}; expected a folder of nuScenes tables, for a bag holds "
                "every frame: leave it out, or choose a name without .mcap"
            )
    elif source in _WITHOUT_TABLES:
        raise ConfigError(
            f"received {dst}; {source} has no boxes or no ego-motion over a drive, and nuScenes tables need both: "
            "choose a name ending in .mcap"
        )


def _flag(name: str) -> str:
    """How an argument that is not left at its default is written on the command line."""
    return "--no-cameras" if name == "cameras" else f"--{name.replace('_', '-')}"
