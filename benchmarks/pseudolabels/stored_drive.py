"""Toy-town drives whose scans and pictures are kept on disk: a study looks at the same ones many times."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.io import atomic
from lidarloop_training.toytown.camera import Picture
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.lidar import Scan


class StoredDrive(ToyTownDrive):
    """The same samples as a ``ToyTownDrive``'s; each scan and picture is made at first use and then read.

    Args:
        folder: where to; a folder is made in it for each drive. Delete it after a change of the toy town.
        seed, duration_s, num_sweeps: see ``ToyTownDrive``; at 10 Hz, with cameras.
    """

    def __init__(self, folder: Path, seed: int, *, duration_s: float = 20.0, num_sweeps: int = 1) -> None:
        super().__init__(seed, duration_s=duration_s, num_sweeps=num_sweeps)
        self._folder = folder / self.scene

    def scan(self, index: int) -> Scan:
        path = self._folder / f"scan-{index:04d}.npz"
        if not path.is_file():
            _write(path, vars(super().scan(index)), np.savez)  # noise does not compress
        return Scan(**_read(path))

    def picture(self, index: int, camera_name: str) -> Picture:
        path = self._folder / f"{camera_name}-{index:04d}.npz"
        if not path.is_file():
            _write(path, vars(super().picture(index, camera_name)), np.savez_compressed)
        return Picture(**_read(path))


def _write(path: Path, arrays: dict[str, Any], save: Callable[..., None]) -> None:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    atomic.write_bytes(path, buffer.getvalue())


def _read(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return dict(arrays)
