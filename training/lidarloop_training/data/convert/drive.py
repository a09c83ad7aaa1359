"""A drive opened for a conversion: one drive, every sweep of it, with the poses and masks that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from lidarloop_core.errors import ConfigError
from lidarloop_core.progress import counted
from lidarloop_core.sample import CameraImage, Sample, SampleSource
from lidarloop_training.data.convert.options import ConvertOptions
from lidarloop_training.data.drive_spec import DriveSpec
from lidarloop_training.data.writing.masks import CocoMasks, MaskedDrive
from lidarloop_training.toytown.drive import ToyTownDrive


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Attributes:
        path: the bag or the folder of tables.
        num_frames: number of samples of the source.
        masks: the file of instance masks; None where none were asked for.
    """

    path: Path
    num_frames: int
    masks: Path | None = None


@dataclass(frozen=True)
class MaskNames:
    """What samples and their images are called in the destination, which their masks refer to.

    Attributes:
        token: sample → its token.
        image: sample, image → the image's topic or file name.
    """

    token: Callable[[Sample], str]
    image: Callable[[Sample, CameraImage], str]


@dataclass(frozen=True)
class OpenDrive:
    """A drive that is ready to be written.

    Attributes:
        source: samples among which every sweep occurs.
        masks: collects the instance masks of the samples written; None where none were asked for.
    """

    source: SampleSource
    masks: CocoMasks | None

    @contextmanager
    def progress(self, num_frames: int) -> Iterator[Callable[[Sample], None]]:
        """A progress bar; gives what to call with each sample that is written, which also collects its masks."""
        with counted("converting") as show:
            numbers = count(1)

            def on_sample(sample: Sample) -> None:
                if self.masks is not None:
                    self.masks.add(sample)
                show(next(numbers), num_frames)

            yield on_sample


def open_drive(drive: DriveSpec, options: ConvertOptions, names: MaskNames) -> OpenDrive:
    """Opens a drive for a conversion; with ``options.ego_motion`` this reads every cloud.

    Raises:
        ConfigError: there are several drives, masks were asked for and it is no toy-town drive, or kiss-icp is not
            installed.
        DatasetError, BagError: nothing readable is there, or ego-motion was asked for where there is some.
    """
    source = drive.open_all_sweeps(cameras=options.cameras)
    _check_one_drive(drive, source)
    if options.ego_motion:
        source = _with_ego_motion(source)
    if not options.masks:
        return OpenDrive(source, None)
    if not isinstance(source, ToyTownDrive):
        raise ConfigError(f"received masks for a {drive.name} drive; expected a toytown drive, which alone has them")
    return OpenDrive(MaskedDrive(source), CocoMasks(names.token, names.image))


def _check_one_drive(drive: DriveSpec, source: SampleSource) -> None:
    """Frames of a second drive would be of another time and place."""
    scenes = tuple(dict.fromkeys(key.drive for key in source.keys))
    if len(scenes) > 1:
        raise ConfigError(
            f"received a {drive.name} folder that holds {len(scenes)} drives; expected one of them, such as "
            f"{drive.one_of(scenes)}: convert them one by one"
        )


def _with_ego_motion(source: SampleSource) -> SampleSource:
    from lidarloop_training.data.views.ego_motion import WithEgoMotion

    with counted("estimating ego-motion") as show:
        numbers = count(1)
        return WithEgoMotion(source, lambda _: show(next(numbers), len(source)))
