"""Frames of a source in order, worked out by several processes where that is wanted."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from lidarloop_core.io.images import encoded
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.workers import worker_pool


@dataclass(frozen=True)
class Need:
    """Which frame of a source is wanted, and whether its pictures are."""

    index: int
    cameras: bool


def render(source: SampleSource, needs: Sequence[Need], num_workers: int) -> Iterator[Sample]:
    """The samples of ``needs`` in their order; frames that are not needed are never touched.

    Args:
        source: must be picklable where ``num_workers`` > 0.
        needs: pictures are compressed where they are wanted and dropped elsewhere.
        num_workers: processes; 0 works in this one. The samples do not depend on it.
    """
    if num_workers == 0:
        for need in needs:
            yield _frame(source, need)
        return
    with worker_pool(num_workers, _start_worker, source) as pool:
        # As many frames as keep the workers busy are under way, so that memory does not grow with the drive.
        pending: deque[Future[Sample]] = deque()
        for need in needs:
            pending.append(pool.submit(_frame_in_worker, need))
            if len(pending) > 2 * num_workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _frame(source: SampleSource, need: Need) -> Sample:
    sample = source[need.index]
    if not need.cameras:
        return dataclasses.replace(sample, cameras=())
    cameras = tuple(dataclasses.replace(image, load=encoded(image)) for image in sample.cameras)
    return dataclasses.replace(sample, cameras=cameras)


_source: SampleSource | None = None
"""The source of this worker process, sent once instead of with every frame."""


def _start_worker(source: SampleSource) -> None:
    global _source
    _source = source


def _frame_in_worker(need: Need) -> Sample:
    assert _source is not None
    return _frame(_source, need)
