"""A folder of kept frames with a quota; a killed writer leaves no broken frame."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lidarloop_core.errors import DatasetError
from lidarloop_core.labelling.selection.frame_file import SUFFIX, KeptFrame, write_frame

_NAME = re.compile(r"(\d{20})-(\d{4})" + re.escape(SUFFIX))


@dataclass(frozen=True)
class StoredFrame:
    """A frame on disk, described by its file name.

    Attributes:
        path: its file.
        stamp_ns: stamp of the frame, nanoseconds.
        value: value of the frame, in [0, 1], in steps of 0.001.
        num_bytes: size of the file.
    """

    path: Path
    stamp_ns: int
    value: float
    num_bytes: int


@dataclass(frozen=True)
class Quota:
    """Limits of the folder.

    Attributes:
        max_bytes: largest size of all frames together.
        max_age_s: largest age relative to the newest frame, seconds; older frames are deleted. 0 for no limit.
        min_free_bytes: least free space on the disk.
    """

    max_bytes: int = 20_000_000_000
    max_age_s: float = 0.0
    min_free_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        if self.max_bytes <= 0 or self.max_age_s < 0 or self.min_free_bytes < 0:
            raise DatasetError(
                f"Quota received max_bytes {self.max_bytes}, max_age_s {self.max_age_s}, min_free_bytes "
                f"{self.min_free_bytes}; expected max_bytes > 0 and neither of the others negative"
            )


class FrameStore:
    """One writer's folder. A frame's name holds its stamp and value, so that no file is opened to decide.

    Args:
        folder: the folder, made if it is missing. Files other than frames are not touched, except temporary files of a
            killed writer.
        quota: limits of the folder.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, quota: Quota) -> None:
        self.folder = folder
        self.quota = quota
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".*{SUFFIX}.*.tmp"):
            leftover.unlink(missing_ok=True)
        self._frames = {frame.path: frame for frame in stored_frames(folder)}

    @property
    def frames(self) -> list[StoredFrame]:
        """All frames, oldest first."""
        return sorted(self._frames.values(), key=lambda frame: frame.stamp_ns)

    @property
    def num_bytes(self) -> int:
        """Size of all frames."""
        return sum(frame.num_bytes for frame in self._frames.values())

    def keep(self, frame: KeptFrame) -> Path | None:
        """Writes a frame, then deletes frames that are too old, and those of least value until the quota is met.

        Returns:
            Its file, or None if the frame itself had the least value.

        Raises:
            OSError: the disk is full (also where fewer than ``min_free_bytes`` are free) or cannot be written; what was
                there stays there.
        """
        free = shutil.disk_usage(self.folder).free
        if free < self.quota.min_free_bytes:
            raise OSError(f"{self.folder}: {free} bytes free; expected at least {self.quota.min_free_bytes}")
        value = round(min(max(frame.value, 0.0), 1.0) * 1000)
        path = self.folder / f"{frame.sample.stamp_ns:020d}-{value:04d}{SUFFIX}"
        write_frame(path, frame)
        self._frames[path] = _stored(path)
        for superfluous in list(self._superfluous()):
            superfluous.path.unlink(missing_ok=True)
            del self._frames[superfluous.path]
        return path if path in self._frames else None

    def _superfluous(self) -> Iterator[StoredFrame]:
        frames = self.frames
        if self.quota.max_age_s:
            oldest_ns = frames[-1].stamp_ns - self.quota.max_age_s * 1e9
            yield from (frame for frame in frames if frame.stamp_ns < oldest_ns)
            frames = [frame for frame in frames if frame.stamp_ns >= oldest_ns]
        excess = sum(frame.num_bytes for frame in frames) - self.quota.max_bytes
        for frame in sorted(frames, key=lambda frame: (frame.value, frame.stamp_ns)):
            if excess <= 0:
                return
            excess -= frame.num_bytes
            yield frame


def stored_frames(folder: Path) -> list[StoredFrame]:
    """The frames of a folder, oldest first; other files are skipped, and frames that are deleted meanwhile."""
    frames = []
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name):
            with suppress(FileNotFoundError):
                frames.append(_stored(path))
    return sorted(frames, key=lambda frame: frame.stamp_ns)


def _stored(path: Path) -> StoredFrame:
    match = _NAME.fullmatch(path.name)
    assert match
    return StoredFrame(path, int(match[1]), int(match[2]) / 1000, path.lstat().st_size)
