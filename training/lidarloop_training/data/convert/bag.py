"""Any drive to a ROS 2 bag, which plays through the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lidarloop_core import __version__
from lidarloop_core.errors import BagError, DatasetError
from lidarloop_core.io.bag import BagReader
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.bag.layout import PROVENANCE, image_topic
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.convert.drive import Converted, MaskNames, open_drive
from lidarloop_training.data.convert.options import ConvertOptions
from lidarloop_training.data.drive_lookup import drive_arguments
from lidarloop_training.data.drive_spec import Drive, NuScenes


def convert_to_bag(
    drive: Drive, dst: Path, options: ConvertOptions | None = None, *, origin: Drive | None = None
) -> Converted:
    """Writes a drive as a bag, and its masks as DST with .masks.json in the place of .mcap.

    Args:
        drive: what is read.
        dst: the bag, a name ending in .mcap.
        options: what is taken along; see there for the defaults.
        origin: the drive that the bag names as its source; by default ``drive``.

    Raises:
        ConfigError: see ``open_drive``.
        DatasetError: ``dst`` is taken; see also ``open_drive`` and ``write_bag``.
    """
    options = options or ConvertOptions()
    check_bag_destination(dst, options.overwrite)
    opened = open_drive(drive, options, MaskNames(lambda s: str(s.stamp_ns), lambda _, image: image_topic(image.name)))
    source = opened.source
    with opened.progress(len(source)) as on_sample:
        write_bag(
            source,
            dst,
            cameras=options.cameras,
            num_workers=options.num_workers,
            provenance=_provenance(origin or drive, source, options),
            on_sample=on_sample,
        )
    if opened.masks is None:
        return Converted(dst, len(source))
    masks = dst.with_suffix(".masks.json")
    opened.masks.write(masks)
    return Converted(dst, len(source), masks)


def check_bag_destination(dst: Path, overwrite: bool) -> None:
    """Refuses a destination that is taken, before any work is done.

    Raises:
        DatasetError: ``dst`` exists and is not ours, or ``overwrite`` is off.
    """
    if not dst.exists():
        return
    if not overwrite:
        raise DatasetError(f"{dst} exists: choose another destination, or pass --overwrite to replace it")
    if not _is_our_bag(dst):
        raise DatasetError(f"{dst} exists and was not written by lidarloop: choose another destination")


def _is_our_bag(path: Path) -> bool:
    try:
        with BagReader(path) as bag:
            return PROVENANCE in bag.topics
    except BagError:
        return False


def _provenance(drive: Drive, source: SampleSource, options: ConvertOptions) -> dict[str, Any]:
    """Where the bag comes from."""
    name, place, *_ = drive_arguments(drive)
    provenance: dict[str, Any] = {"source": name, "path": place, "lidarloop": __version__}
    if not isinstance(drive, NuScenes):  # a bag of those holds more frames than there are samples
        provenance["num_frames"] = len(source)
    if options.ego_motion:
        provenance["ego_motion"] = "kiss-icp"
    return provenance
