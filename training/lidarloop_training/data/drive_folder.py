"""Drives of one's own as training data: annotated, or with pseudo-labels beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lidarloop_core.sample import SampleSource
from lidarloop_training.data.drive_lookup import drive_named
from lidarloop_training.data.drive_spec import DriveName
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.painted import PaintedSource
from lidarloop_training.data.views.pseudo_labelled import open_labelled


@dataclass(frozen=True)
class DriveFolder:
    """Where the drives lie.

    Attributes:
        path: file or folder as ``lidarloop convert`` reads it; of nuScenes tables also a folder of such folders, one
            per drive.
        source: kind of drive, by the name that ``lidarloop convert`` gives it.
        labels: pseudo-labels to learn from instead of annotations: the folder that ``lidarloop pseudolabel`` made, or a
            results JSON. Samples that it does not know are left out.
        validation: annotated drives of the same kind for the validation loss; without them none is computed.
        cameras: whether samples have pictures, for pre-training.
        paints: class scores of a 2D model to paint the points with, of all these drives: the folder that
            ``lidarloop paint`` printed.
    """

    path: Path
    source: DriveName = "nuscenes"
    labels: Path | None = None
    validation: Path | None = None
    cameras: bool = False
    paints: Path | None = None

    def open_training(self, num_sweeps: int) -> SampleSource:
        """The drives to learn from."""
        drives = self._open(self.path, num_sweeps)
        return drives if self.labels is None else open_labelled(drives, self.labels)

    def open_validation(self, num_sweeps: int) -> SampleSource:
        """The drives to validate on; empty where there are none."""
        return ConcatSource([]) if self.validation is None else self._open(self.validation, num_sweeps)

    def _open(self, path: Path, num_sweeps: int) -> SampleSource:
        drive = drive_named(self.source, str(path))
        drives = drive.open(num_sweeps=num_sweeps, cameras=self.cameras, lane_map=False)
        return drives if self.paints is None else PaintedSource(drives, self.paints)
