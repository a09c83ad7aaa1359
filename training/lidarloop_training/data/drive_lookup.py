"""From words and paths to the description of a drive, and back to words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_training.data.drive_spec import (
    KINDS,
    Bag,
    Drive,
    DriveName,
    DriveSpec,
    KittiObject,
    KittiTracking,
    NuScenes,
    ToyTown,
)


def drive_named(name: DriveName, place: str) -> Drive:
    """A drive with its options at their defaults.

    Args:
        name: its kind.
        place: its file or folder; of the toy town the seed.

    Raises:
        ConfigError: a seed that is no number.
    """
    (kind,) = (kind for kind in KINDS if kind.name == name)
    if not issubclass(kind, ToyTown):
        return kind(Path(place))
    if not place.isdecimal():
        raise ConfigError(f"toytown received {place!r}; expected a seed: a whole number such as 7")
    return ToyTown(int(place))


def drive_at(path: Path) -> Drive:
    """The drive at a path, by what it holds: a bag, KITTI's object or tracking benchmark, or nuScenes tables.

    Raises:
        DatasetError: it is none of them.
    """
    if not path.exists():
        raise DatasetError(
            f"{path} does not exist; expected a bag, or a folder of nuScenes tables or of KITTI's benchmarks"
        )
    if path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file():
        return Bag(path)
    for velodyne in (path / "velodyne", path / "training" / "velodyne"):
        if velodyne.is_dir():
            return KittiTracking(path) if any(velodyne.glob("*/*.bin")) else KittiObject(path)
    if path.is_dir():
        return NuScenes(path)
    raise DatasetError(
        f"received {path}; expected a bag (.mcap), a folder of nuScenes tables or of KITTI's benchmarks; for "
        "anything else say what it is with --source"
    )


def drive_arguments(drive: DriveSpec) -> list[str]:
    """The words that name a drive on the command line, e.g. ``["bag", "drive.mcap", "--odometry-topic", "/odom"]``."""
    first, *options = dataclasses.fields(drive)
    words = [drive.name, str(getattr(drive, first.name))]
    for option in options:
        value = getattr(drive, option.name)
        if isinstance(value, bool):
            words += [f"--{option.name.replace('_', '-')}"] if value else []
        elif value != option.default:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{option.name.replace('_', '-')}", *map(str, values)]
    return words
