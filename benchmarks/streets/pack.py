"""Real drives for evaluation on one's own machine: unpacked into a cache folder, never into the repository.

    python -m benchmarks.streets.pack              # `make streets`: from DATA/streets to ~/.cache/lidarloop/streets

$LIDARLOOP_STREETS names another folder. The samples are of published research data sets with terms of their own (see
the pack's README): they may not be committed, packaged or published.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tyro

from benchmarks.checks import REAL_DATA, REPOSITORY

UNPACKED = Path(os.environ.get("LIDARLOOP_STREETS", Path.home() / ".cache" / "lidarloop" / "streets"))
SETS = ("kitti_tracking", "kitti_object", "pandaset_002", "view_of_delft")


def unpack(pack: Path, folder: Path) -> str:
    """Restores the pack's files where they are missing; what is there and correct stays.

    Args:
        pack: folder with ``unpack.py``.
        folder: where to; outside the repository.

    Returns:
        why nothing was unpacked; "" where all of it is there.
    """
    if folder.resolve().is_relative_to(REPOSITORY):
        return f"{folder} lies in the repository: set LIDARLOOP_STREETS to a folder outside"
    if all((folder / name).is_dir() for name in SETS):
        return ""
    if not (pack / "unpack.py").is_file():
        return f"no pack of real drives at {pack}"
    done = subprocess.run([sys.executable, str(pack / "unpack.py"), str(folder)], check=False)
    return "" if done.returncode == 0 else f"{pack / 'unpack.py'} ended with exit code {done.returncode}"


def main(data: Path = REAL_DATA, to: Path = UNPACKED) -> int:
    """Unpacks the real drives and prints where they are; the exit code is 1 if they are not there.

    Args:
        data: folder of the real samples, which holds the pack as ``streets``.
        to: folder to unpack to.
    """
    reason = unpack(data / "streets", to)
    print(reason or to)
    return int(bool(reason))


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
