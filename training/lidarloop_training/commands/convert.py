"""``lidarloop convert``: any drive in, a bag or nuScenes tables out."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal

import tyro

from lidarloop_core.errors import ConfigError
from lidarloop_core.io.outputs import check_replaced
from lidarloop_core.shell import command_line
from lidarloop_training.commands.over_drives import D, one_of
from lidarloop_training.data.convert.options import ConvertOptions, TablesLayout
from lidarloop_training.data.drive_spec import (
    KINDS,
    Bag,
    Drive,
    KittiObject,
    KittiRaw,
    NuScenesSweep,
    SemanticKitti,
    ToyTown,
    ViewOfDelft,
)

if TYPE_CHECKING:
    from lidarloop_training.data.convert.drive import Converted

# For scripts: the destination is written, but something of the source is not in it.
EXIT_WITH_LOSS = 3


@dataclass(frozen=True)
class Destination:
    """Where to.

    Attributes:
        dst: a name ending in .mcap makes a bag; any other makes a folder of nuScenes tables, for which the drive must
            have ego-motion and annotations.
        overwrite: replace DST if lidarloop wrote it.
    """

    dst: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DST")]
    overwrite: bool = False

    @property
    def is_bag(self) -> bool:
        return self.dst.suffix == ".mcap"


@dataclass(frozen=True)
class Conversion(Generic[D]):
    """A drive to a bag.

    Attributes:
        drive: what to read.
        to: where to.
        cameras: whether images are converted.
    """

    drive: Annotated[D, tyro.conf.arg(name="")]
    to: Annotated[Destination, tyro.conf.arg(name="")]
    cameras: bool = True

    @property
    def layout(self) -> TablesLayout:
        """Of the tables.

        Raises:
            ConfigError: the drive cannot become tables.
        """
        raise ConfigError(
            f"received {self.to.dst}; {self.drive.name} has no boxes or no ego-motion over a drive, and nuScenes "
            "tables need both: choose a name ending in .mcap"
        )

    @property
    def options(self) -> ConvertOptions:
        return ConvertOptions(cameras=self.cameras, overwrite=self.to.overwrite)


@dataclass(frozen=True)
class LabelledConversion(Conversion[D]):
    """A drive with boxes to a bag or to tables.

    Attributes:
        tables: which frames of the drive the tables hold.
    """

    tables: Annotated[TablesLayout, tyro.conf.arg(name="")] = field(default_factory=TablesLayout)

    @property
    def layout(self) -> TablesLayout:
        return self.tables


EgoMotion = Literal["kiss-icp"]


@dataclass(frozen=True)
class KittiRawConversion(Conversion[KittiRaw]):
    """A KITTI raw recording to a bag.

    Attributes:
        ego_motion: how poses are found, of which the drive has none: kiss-icp estimates them from the clouds.
    """

    ego_motion: EgoMotion | None = None

    @property
    def options(self) -> ConvertOptions:
        return ConvertOptions(self.cameras, ego_motion=self.ego_motion is not None, overwrite=self.to.overwrite)


@dataclass(frozen=True)
class BagConversion(LabelledConversion[Bag]):
    """A bag to another bag or to tables.

    Attributes:
        ego_motion: how poses are found where the bag has none: kiss-icp estimates them from the clouds.
        salvage: reads the complete part of a broken MCAP file and reports what was lost; the exit code is then 3.
    """

    ego_motion: EgoMotion | None = None
    salvage: bool = False

    @property
    def options(self) -> ConvertOptions:
        return ConvertOptions(self.cameras, ego_motion=self.ego_motion is not None, overwrite=self.to.overwrite)


@dataclass(frozen=True)
class ToyTownConversion(LabelledConversion[ToyTown]):
    """A toy-town drive to a bag or to tables.

    Attributes:
        masks: also write the instance masks as COCO JSON: DST with .masks.json for .mcap, or DST/masks.json.
        num_workers: number of processes that render frames; by default one per core. The result does not depend on it.
    """

    masks: bool = False
    num_workers: int | None = None

    @property
    def layout(self) -> TablesLayout:
        if self.drive.skewed:
            raise ConfigError(
                f"received --skewed with {self.to.dst}; nuScenes tables have no time for each point: choose a name "
                "ending in .mcap, or leave --skewed out"
            )
        return self.tables

    @property
    def options(self) -> ConvertOptions:
        num_workers = (os.cpu_count() or 1) if self.num_workers is None else self.num_workers
        return ConvertOptions(self.cameras, self.masks, num_workers=num_workers, overwrite=self.to.overwrite)


if TYPE_CHECKING:
    Request = Conversion[Any]
else:
    _SPECIAL = {ToyTown: ToyTownConversion, KittiRaw: KittiRawConversion, Bag: BagConversion}
    _WITHOUT_BOXES_OR_POSES = (KittiObject, NuScenesSweep, SemanticKitti, ViewOfDelft)
    Request = one_of(
        {
            kind: _SPECIAL.get(kind) or (Conversion if kind in _WITHOUT_BOXES_OR_POSES else LabelledConversion)[kind]
            for kind in KINDS
        }
    )


def convert(request: Annotated[Request, tyro.conf.arg(name="")]) -> int | None:
    """Converts a drive to a ROS 2 bag or to nuScenes tables.

    Bags play through the node (`lidarloop replay`), tables are what training and the nuScenes devkit read.

    Args:
        request: the kind of drive.

    Raises:
        ConfigError: the options do not fit the drive or the destination, or the destination is the drive or holds it.
        DatasetError: the drive cannot be read, or the destination is taken.
    """
    check_replaced(request.to.dst, getattr(request.drive, "path", None))
    # Heavy imports only when something is done, so that `--help` and wrong usage answer at once.
    if not isinstance(request, BagConversion) or not request.salvage:
        _convert(request, request.drive)
        return None
    from lidarloop_training.data.convert.salvage import salvaged

    with salvaged(request.drive, request.to.dst.parent) as found:
        _convert(request, found.drive)
    print(found.report)
    return None if found.is_whole else EXIT_WITH_LOSS


def _convert(request: Conversion[Any], drive: Drive) -> None:
    """Converts ``drive``, which is the request's or what was salvaged of it."""
    started = time.monotonic()
    converted = _to_bag(request, drive) if request.to.is_bag else _to_tables(request, drive)
    print(f"{converted.path}  ({converted.num_frames} frames in {time.monotonic() - started:.1f} s)")
    if converted.masks is not None:
        print(converted.masks)
    print(f"next: {_next_command(request.to)}")


def _to_bag(request: Conversion[Any], drive: Drive) -> Converted:
    if isinstance(request, LabelledConversion) and request.tables != TablesLayout():
        raise ConfigError(
            f"received --keyframe-every or --sweeps-per-keyframe with {request.to.dst}; expected a folder of nuScenes "
            "tables, for a bag holds every frame: leave it out, or choose a name without .mcap"
        )
    options = request.options
    from lidarloop_training.data.convert.bag import convert_to_bag

    return convert_to_bag(drive, request.to.dst, options, origin=request.drive)


def _to_tables(request: Conversion[Any], drive: Drive) -> Converted:
    layout, options = request.layout, request.options
    from lidarloop_training.data.convert.tables import convert_to_tables

    return convert_to_tables(drive, request.to.dst, layout, options)


def _next_command(to: Destination) -> str:
    if to.is_bag:
        model, out = "models/pillar-toytown.onnx", to.dst.with_suffix("")
        return command_line("lidarloop", "replay", to.dst, "--model", model, "--out", out)
    return command_line("lidarloop", "convert", "nuscenes", to.dst, f"{to.dst}.mcap")
