"""KITTI raw recordings: Velodyne clouds and the left colour camera, without labels and without poses.

Reflectances of 0–1 are given as intensities of 0–255.
"""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import regular_file
from lidarloop_core.io.cloud_file import KITTI, read_unit_intensities
from lidarloop_core.sample import CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.kitti.calibration import EGO_SE3_LIDAR, read_raw_calibration

_MOST_BYTES = 1 << 26

LIDAR_COLUMNS = ("x", "y", "z", "intensity")

_DAY_NS = 1_316_995_200_000_000_000  # 2011-09-26, the day most recordings were made
_PERIOD_NS = 100_000_000


class KittiRawSource:
    """The frames of one recording.

    Understands KITTI's own folders (``velodyne_points/data``, ``image_02/data``, timestamps.txt) and flat ones without
    ``data``. Where there are no timestamps, frames are taken to be 0.1 s apart.
    """

    def __init__(self, root: Path, *, cameras: bool = True) -> None:
        """Lists the files and reads the calibration.

        Args:
            root: the recording's folder, e.g. ``2011_09_26_drive_0001_sync``.
            cameras: whether samples carry the pictures of image_02.

        Raises:
            DatasetError: no clouds, no calibration, or timestamps that do not fit the clouds.
        """
        self.root = Path(root)
        self.scene = self.root.name
        self._clouds = _files(self.root / "velodyne_points", ".bin")
        if not self._clouds:
            raise DatasetError(
                f"{self.root}: holds no velodyne_points/*.bin; expected the folder of a KITTI raw recording (…_sync)"
            )
        self._stamps = _stamps(self.root / "velodyne_points" / "timestamps.txt", list(self._clouds))
        self._pictures = _files(self.root / "image_02", ".png", ".jpg") if cameras else {}
        self._picture_stamps = _stamps(self.root / "image_02" / "timestamps.txt", list(self._pictures))
        self._calibration = read_raw_calibration(self.root) if self._pictures else None
        self._names = list(self._clouds)

    def __len__(self) -> int:
        return len(self._names)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(SampleKey(f"{self.scene}-{name}", self.scene, self._stamps[name]) for name in self._names)

    def __getitem__(self, index: int) -> Sample:
        name = self._names[index]
        points = read_unit_intensities(self._clouds[name], KITTI)
        stamp_ns = self._stamps[name]
        return Sample(
            token=self.keys[index].token,
            scene=self.scene,
            stamp_ns=stamp_ns,
            sweeps=(Sweep(points, LIDAR_COLUMNS, stamp_ns, EGO_SE3_LIDAR, None),),
            cameras=self._cameras(name),
        )

    def annotations(self, index: int) -> None:
        """KITTI raw has no labels."""

    def pose(self, index: int) -> LidarPose:
        return LidarPose(EGO_SE3_LIDAR, None)

    def _cameras(self, name: str) -> tuple[CameraImage, ...]:
        if name not in self._pictures or self._calibration is None:
            return ()
        return (self._calibration.camera_image(self._pictures[name], self._picture_stamps[name]),)


def _files(folder: Path, *suffixes: str) -> dict[str, Path]:
    """The files of a sensor by name, in order."""
    place = folder / "data" if (folder / "data").is_dir() else folder
    found = [path for path in place.glob("*") if path.suffix in suffixes]
    return {path.stem: path for path in sorted(found)}


def _stamps(path: Path, names: list[str]) -> dict[str, int]:
    """Nanoseconds of each frame. Line n of the file is of the frame with number n, for some lack their cloud."""
    if not path.is_file():
        return {name: _DAY_NS + i * _PERIOD_NS for i, name in enumerate(names)}
    try:
        lines = [line for line in regular_file.read_text(path, _MOST_BYTES).splitlines() if line.strip()]
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    try:
        return {name: _parse_time(lines[int(name)]) for name in names}
    except (IndexError, ValueError) as error:
        raise DatasetError(
            f"{path}: received {len(lines)} times that do not fit {len(names)} frames ({error}); expected one line "
            "'2011-09-26 13:02:25.964389445' for each frame number: restore the file"
        ) from None


def _parse_time(line: str) -> int:
    """Nanoseconds since 1970, taking the recording's wall clock for UTC; datetime alone would lose the last digits."""
    full_seconds, _, fraction = line.strip().partition(".")
    seconds = datetime.strptime(full_seconds, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])
