"""What a worker holds, the open drive and the loaded 2D model, and what it does with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from lidarloop_core.errors import DatasetError, ImageFormatError
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.sample import LaneMap, Sample, SampleSource
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame
from lidarloop_training.pseudolabel.frames import frame_document, read_segment, segment_document
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.manifest import Segment
from lidarloop_training.pseudolabel.refinement import refined
from lidarloop_training.pseudolabel.usable_pictures import without_broken, without_large
from lidarloop_training.pseudolabel.variants import Lifter, open_lifter


@dataclass(frozen=True)
class WholeDrive:
    """A piece of work: a drive whose segments are all lifted.

    Attributes:
        name: name of the drive.
        document: its labelled frames; see ``segment_document``.
    """

    name: str
    document: bytes


Work = Segment | WholeDrive
"""What a worker is given: a segment to lift, or a drive to refine."""


class Labeller:
    """One per process: opening the drive and loading the model may take long, so each is done when first needed."""

    def __init__(self, job: LabelJob) -> None:
        self._job = job
        self._lane_map: LaneMap | None = None
        self._lanes: LaneLookup | None = None

    def do(self, work: Work) -> bytes:
        """The document of a piece of work; the same bytes in any process."""
        return self.lifted(work) if isinstance(work, Segment) else self.refined(work)

    def lifted(self, segment: Segment) -> bytes:
        """The labels of a segment's samples."""
        frames = [frame_document(self.frame(index)) for index in segment.frames]
        return segment_document(self._lifter.class_names, frames, model=self._lifter.name)

    def refined(self, drive: WholeDrive) -> bytes:
        """The labels of a drive, better."""
        job, refinement = self._job, self._job.refinement
        views = refinement is not None and refinement.weigh_views and job.sensors == "lidar-camera"
        clouds = None if job.sensors == "camera" else job.drive.open(cameras=views, lane_map=False)
        frames = refined(read_segment(drive.document), refinement, clouds)
        return segment_document(frames[0].labels.boxes.class_names, [frame_document(frame) for frame in frames])

    def frame(self, index: int) -> LabelledFrame:
        """Labels one sample of the drive."""
        sample = self._drive[index]
        seen, too_large = without_large(sample, self._job.max_picture_mpx)
        lanes = self._lanes_of(sample)
        try:
            labels, left_out = self._lifter(seen, lanes)
        except (DatasetError, ImageFormatError):
            readable, broken = without_broken(seen)
            if len(readable.cameras) == len(seen.cameras):
                raise
            labels, left_out = self._lifter(readable, lanes)
            left_out.cameras.update(broken)
        left_out.cameras.update(too_large)
        return LabelledFrame.of(index, sample, labels, left_out)

    @cached_property
    def _drive(self) -> SampleSource:
        return self._job.open_drive()

    @cached_property
    def _lifter(self) -> Lifter:
        return open_lifter(self._job, self._drive)

    def _lanes_of(self, sample: Sample) -> LaneLookup | None:
        """The lookup of a drive's map is built once."""
        if sample.lane_map is not self._lane_map:
            self._lane_map = sample.lane_map
            self._lanes = None if sample.lane_map is None else LaneLookup(sample.lane_map)
        return self._lanes
